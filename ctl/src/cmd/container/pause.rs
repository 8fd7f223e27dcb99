//! `ctl container pause` and `unpause`.

use std::process::ExitCode;

use proto::v1::{PauseContainerRequest, UnpauseContainerRequest};

use super::several::{Containers, each};
use crate::cli::Global;
use crate::error::CommandError;

/// Let the processes of containers stand still, or go on
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which containers.
    #[command(flatten)]
    containers: Containers,
}

/// Pauses each container.
///
/// # Errors
/// When there is no such container, or it does not run.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let agent = crate::cmd::agent(global).await?;
    each(args.containers.containers, async |container| {
        agent.clone().pause_container(PauseContainerRequest { container }).await.map(drop)
    })
    .await
}

/// Lets each container go on.
///
/// # Errors
/// When there is no such container, or it is not paused.
pub(super) async fn unpause(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let agent = crate::cmd::agent(global).await?;
    each(args.containers.containers, async |container| {
        agent.clone().unpause_container(UnpauseContainerRequest { container }).await.map(drop)
    })
    .await
}
