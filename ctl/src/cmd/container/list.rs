//! `ctl container ls`.

use std::process::ExitCode;

use proto::v1::ListContainersRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::{self, rows::ContainerRow};

/// List containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also those that do not run
    #[arg(long, short = 'a')]
    all: bool,
}

/// Lists the containers of this host.
///
/// # Errors
/// When the agent can't be asked.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let containers =
        agent.list_containers(ListContainersRequest { all: args.all }).await?.into_inner().containers;
    output::list(global.output, &containers.iter().map(ContainerRow::from).collect::<Vec<_>>());
    Ok(ExitCode::SUCCESS)
}
