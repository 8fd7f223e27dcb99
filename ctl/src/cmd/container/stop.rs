//! `ctl container stop`.

use std::process::ExitCode;

use proto::v1::StopContainerRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output;

/// Stop containers: their stop signal, a pause, SIGKILL
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds before SIGKILL (default: what the container was made with, or 10)
    #[arg(long, short = 't', value_name = "SECONDS")]
    time: Option<u32>,
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
        let request = StopContainerRequest { container: container.clone(), grace_seconds: args.time };
        agent.stop_container(request).await?;
        output::line(&container);
    }
    Ok(ExitCode::SUCCESS)
}
