//! `ctl service`: one file per verb.

mod converge;
mod create;
mod inspect;
mod list;
mod logs;
mod patience;
mod ps;
mod remove;
mod scale;
pub mod spec;
mod update;

pub use create::start_demo;

use std::process::ExitCode;

use crate::cli::Global;
use crate::error::CommandError;

/// Services: sets of containers that the cluster keeps running
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Create a service and wait until its tasks run
    Create(Box<create::Args>),
    /// Show a service as JSON
    Inspect(inspect::Args),
    /// List the services
    #[command(visible_alias = "list")]
    Ls,
    /// Print what the tasks of a service write
    Logs(logs::Args),
    /// List the tasks of a service
    Ps(ps::Args),
    /// Remove services and wait until their tasks are gone
    #[command(visible_alias = "remove")]
    Rm(remove::Args),
    /// Set the number of tasks: NAME=REPLICAS
    Scale(scale::Args),
    /// Change a service; its tasks are replaced one by one
    Update(Box<update::Args>),
}

/// Performs the command.
///
/// # Errors
/// Whatever it says to the user.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Create(args) => create::run(global, *args).await,
        Command::Inspect(args) => inspect::run(global, args).await,
        Command::Ls => list::run(global).await,
        Command::Logs(args) => logs::run(global, args).await,
        Command::Ps(args) => ps::run(global, args).await,
        Command::Rm(args) => remove::run(global, args).await,
        Command::Scale(args) => scale::run(global, args).await,
        Command::Update(args) => update::run(global, *args).await,
    }
}
