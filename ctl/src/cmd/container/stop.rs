//! `ctl container stop`.

use std::process::ExitCode;
use std::time::Duration;

use proto::v1::{KillContainerRequest, WaitContainerRequest};

use crate::cli::Global;
use crate::client::Node;
use crate::error::CommandError;
use crate::output;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// Stop containers: SIGTERM, a pause, SIGKILL
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds before SIGKILL
    #[arg(long, short = 't', default_value_t = 10, value_name = "SECONDS")]
    time: u64,
    /// Names or ids of containers
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Stops each container.
///
/// # Errors
/// When there is no such container.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    for container in args.containers {
        stop(&mut agent, &container, Duration::from_secs(args.time)).await?;
        output::line(&container);
    }
    Ok(ExitCode::SUCCESS)
}

async fn stop(agent: &mut Node, container: &str, grace: Duration) -> Result<(), CommandError> {
    let kill = |signal| KillContainerRequest { container: container.to_owned(), signal };
    let wait = || WaitContainerRequest { container: container.to_owned() };
    agent.kill_container(kill(SIGTERM)).await?;
    if tokio::time::timeout(grace, agent.wait_container(wait())).await.is_ok() {
        return Ok(());
    }
    agent.kill_container(kill(SIGKILL)).await?;
    agent.wait_container(wait()).await?;
    Ok(())
}
