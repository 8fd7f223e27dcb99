//! `ctl container`: one file per verb, all on this host's agent.

mod attach;
mod create;
mod detach;
mod exec;
mod list;
mod logs;
mod options;
mod remove;
mod run;
mod session;
mod stats;
mod stop;

use std::process::ExitCode;

use crate::cli::Global;
use crate::error::CommandError;

/// Single containers on this host
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run a program in a new container
    Run(Box<run::Args>),
    /// Create a container, to be started later
    Create(Box<create::Args>),
    /// Run a program in a running container
    Exec(Box<exec::Args>),
    /// Be the terminal of a running container again
    Attach(attach::Args),
    /// List containers
    #[command(visible_alias = "list", visible_alias = "ps")]
    Ls(list::Args),
    /// Show what running containers use
    Stats(stats::Args),
    /// Print what a container wrote
    Logs(logs::Args),
    /// Stop containers: their stop signal, a pause, SIGKILL
    Stop(stop::Args),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(remove::Args),
}

/// Performs the command.
///
/// # Errors
/// Whatever it says to the user.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Run(args) => Box::pin(run::run(global, *args)).await,
        Command::Create(args) => Box::pin(create::run(global, *args)).await,
        Command::Exec(args) => Box::pin(exec::run(global, *args)).await,
        Command::Attach(args) => attach::run(global, args).await,
        Command::Ls(args) => list::run(global, args).await,
        Command::Stats(args) => stats::run(global, args).await,
        Command::Logs(args) => logs::run(global, args).await,
        Command::Stop(args) => stop::run(global, args).await,
        Command::Rm(args) => remove::run(global, args).await,
    }
}
