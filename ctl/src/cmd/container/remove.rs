//! `ctl container rm`.

use std::process::ExitCode;

use proto::v1::RemoveContainerRequest;

use super::options::refused::{OfRemove, Refused};
use super::several::{Containers, each};
use crate::cli::Global;
use crate::error::CommandError;

/// Remove containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill those that still run
    #[arg(long, short = 'f')]
    force: bool,
    /// Also remove the volumes without a name that only they have
    #[arg(long, short = 'v')]
    volumes: bool,
    /// What is known and not taken.
    #[command(flatten)]
    refused: Refused<OfRemove>,
    /// Which containers.
    #[command(flatten)]
    containers: Containers,
}

/// Removes each container.
///
/// # Errors
/// When there is no such container, or it runs and `--force` is not given.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    args.refused.check()?;
    let agent = crate::cmd::agent(global).await?;
    let (force, volumes) = (args.force, args.volumes);
    each(args.containers.containers, async |container| {
        let request = RemoveContainerRequest { container, force, volumes };
        agent.clone().remove_container(request).await.map(drop)
    })
    .await
}
