//! `ctl container rm`.

use std::process::ExitCode;

use proto::v1::RemoveContainerRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output;

/// Remove containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill those that still run
    #[arg(long, short = 'f')]
    force: bool,
    /// Names or ids of containers
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Removes each container; the first failure ends it.
///
/// # Errors
/// When there is no such container, or it runs and `--force` is not given.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    for container in args.containers {
        let request = RemoveContainerRequest { container: container.clone(), force: args.force };
        agent.remove_container(request).await?;
        output::line(&container);
    }
    Ok(ExitCode::SUCCESS)
}
