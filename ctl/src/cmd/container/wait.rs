//! `ctl container wait`.

use std::process::ExitCode;

use proto::v1::WaitContainerRequest;

use super::several::{Containers, Failures};
use crate::cli::Global;
use crate::error::CommandError;
use crate::output;

/// Wait until containers have ended, and print their exit codes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which containers.
    #[command(flatten)]
    containers: Containers,
}

/// Waits for each in turn; of one that does not run prints how it ended.
///
/// # Errors
/// When there is no such container.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let is_one = args.containers.containers.len() == 1;
    let mut failures = Failures::default();
    for container in args.containers.containers {
        let request = WaitContainerRequest { container: container.clone(), next_exit: false };
        match agent.wait_container(request).await {
            Ok(done) => output::line(&done.into_inner().exit_code.to_string()),
            Err(status) if is_one => return Err(status.into()),
            Err(status) => failures.add(&container, status.into())?,
        }
    }
    Ok(failures.exit_code())
}
