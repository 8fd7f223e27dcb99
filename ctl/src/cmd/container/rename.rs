//! `ctl container rename`.

use std::process::ExitCode;

use proto::v1::RenameContainerRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output;

/// Give a container another name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id of the container
    container: String,
    /// Its new name
    name: String,
}

/// Renames it.
///
/// # Errors
/// When there is no such container, or another one has the name.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let request = RenameContainerRequest { container: args.container, name: args.name.clone() };
    agent.rename_container(request).await?;
    output::line(&args.name);
    Ok(ExitCode::SUCCESS)
}
