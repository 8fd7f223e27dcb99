//! `ctl system`: what a host's disk holds, and making room on it.

mod df;
mod prune;

use std::process::ExitCode;

use crate::cli::Global;
use crate::error::CommandError;

/// The disk of this host
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show what images, containers and volumes take of the disk
    Df(df::Args),
    /// Remove what is not used
    Prune(prune::Args),
}

/// Performs the command.
///
/// # Errors
/// Whatever it says to the user.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Df(args) => df::run(global, args).await,
        Command::Prune(args) => prune::run(global, args).await,
    }
}
