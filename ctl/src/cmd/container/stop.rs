//! `ctl container stop` and `restart`: how a container is asked to end.

use std::process::ExitCode;

use proto::v1::{RestartContainerRequest, StopContainerRequest};

use super::several::{Containers, each};
use crate::cli::Global;
use crate::error::CommandError;

/// Stop containers: their stop signal, a pause, SIGKILL
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds before SIGKILL, -1 for never (default: what the container was made with, or 10)
    #[arg(
        long = "timeout",
        short = 't',
        alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    timeout: Option<i64>,
    /// The first signal (default: what the container was made with, or TERM)
    #[arg(long, short = 's', default_value = "", hide_default_value = true)]
    signal: String,
    /// Which containers.
    #[command(flatten)]
    containers: Containers,
}

impl Args {
    /// Seconds, and whether it is never killed.
    fn grace(&self) -> (Option<u32>, bool) {
        match self.timeout {
            Some(seconds) if seconds < 0 => (None, true),
            seconds => (seconds.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)), false),
        }
    }
}

/// Stops each container; one that does not run is stopped already.
///
/// # Errors
/// When there is no such container.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let agent = crate::cmd::agent(global).await?;
    let ((grace_seconds, wait_forever), signal) = (args.grace(), args.signal);
    each(args.containers.containers, async |container| {
        let signal = signal.clone();
        let request = StopContainerRequest { container, grace_seconds, signal, wait_forever };
        agent.clone().stop_container(request).await.map(drop)
    })
    .await
}

/// Stops each container that runs, and starts all of them.
///
/// # Errors
/// When there is no such container, or it can't be started.
pub(super) async fn restart(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let agent = crate::cmd::agent(global).await?;
    let ((grace_seconds, wait_forever), signal) = (args.grace(), args.signal);
    each(args.containers.containers, async |container| {
        let signal = signal.clone();
        let request = RestartContainerRequest { container, grace_seconds, signal, wait_forever };
        agent.clone().restart_container(request).await.map(drop)
    })
    .await
}
