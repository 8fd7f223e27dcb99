//! `ctl container kill`.

use std::process::ExitCode;

use proto::v1::KillContainerRequest;

use super::several::{Containers, each};
use crate::cli::Global;
use crate::error::CommandError;

/// Send a signal to running containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or number of the signal
    #[arg(long, short = 's', default_value = "KILL")]
    signal: String,
    /// Which containers.
    #[command(flatten)]
    containers: Containers,
}

/// Sends it to each container.
///
/// # Errors
/// When there is no such container or signal, or the container does not run.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let agent = crate::cmd::agent(global).await?;
    let signal = args.signal;
    each(args.containers.containers, async |container| {
        let request = KillContainerRequest { container, signal: 0, signal_name: signal.clone() };
        agent.clone().kill_container(request).await.map(drop)
    })
    .await
}
