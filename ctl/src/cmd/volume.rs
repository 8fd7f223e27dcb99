//! `ctl volume`: one file per verb, on this host or on a node.

mod create;
mod inspect;
mod list;
mod prune;
mod remove;

use std::process::ExitCode;

use proto::v1::volumes_client::VolumesClient;

use crate::cli::Global;
use crate::client::Host;
use crate::error::{CommandError, Kind};

/// Volumes on this host
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Create a volume
    Create(create::Args),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(list::Args),
    /// Show all there is to know about volumes
    Inspect(inspect::Args),
    /// Remove volumes and what is in them
    #[command(visible_alias = "remove")]
    Rm(remove::Args),
    /// Remove the anonymous volumes that no container has
    Prune(prune::Args),
}

/// Performs the command.
///
/// # Errors
/// Whatever it says to the user.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Create(args) => create::run(global, args).await,
        Command::Ls(args) => list::run(global, args).await,
        Command::Inspect(args) => inspect::run(global, args).await,
        Command::Rm(args) => remove::run(global, args).await,
        Command::Prune(args) => prune::run(global, args).await,
    }
}

async fn volumes(global: &Global) -> Result<VolumesClient<Host>, CommandError> {
    crate::cmd::host(global).await.map(VolumesClient::new)
}

/// `KEY=VALUE`, or a key alone.
fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(format!("{text:?} is not KEY=VALUE"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// A wrong command line.
fn usage(message: impl Into<String>) -> CommandError {
    CommandError::new(Kind::Usage, message)
}
