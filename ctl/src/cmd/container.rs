//! `ctl container`: one file per verb, all on this host's agent.

mod attach;
mod commit;
mod copy;
mod create;
mod detach;
mod diff;
mod events;
mod exec;
mod export;
pub(super) mod filter;
mod inspect;
mod kill;
mod list;
mod logs;
mod options;
mod pause;
mod port;
mod prune;
mod remove;
mod rename;
mod run;
mod session;
mod several;
mod start;
mod stats;
mod stop;
mod top;
mod update;
mod wait;

use std::process::ExitCode;

pub use events::Args as EventsArgs;
pub use exec::Args as ExecArgs;
pub use list::Args as ListArgs;
pub use logs::Args as LogsArgs;
pub use run::Args as RunArgs;

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
    /// Start containers that do not run
    Start(start::Args),
    /// List containers
    #[command(visible_alias = "list", visible_alias = "ps")]
    Ls(list::Args),
    /// Show what running containers use
    Stats(stats::Args),
    /// Print what a container wrote
    Logs(logs::Args),
    /// Copy files between a container and this machine
    Cp(copy::Args),
    /// Show what a container changed in its files
    Diff(diff::Args),
    /// Write a container's files as an archive
    Export(export::Args),
    /// Make an image of a container's changes
    Commit(commit::Args),
    /// Stop containers: their stop signal, a pause, SIGKILL
    Stop(stop::Args),
    /// Stop containers that run, and start them all
    Restart(stop::Args),
    /// Send a signal to running containers
    Kill(kill::Args),
    /// Let the processes of containers stand still
    Pause(pause::Args),
    /// Let paused containers go on
    Unpause(pause::Args),
    /// Wait until containers have ended, and print their exit codes
    Wait(wait::Args),
    /// Give a container another name
    Rename(rename::Args),
    /// Change what containers may use, at once
    Update(Box<update::Args>),
    /// Show everything about containers, as JSON
    Inspect(inspect::Args),
    /// Show the processes of a running container
    Top(top::Args),
    /// Show which ports of the host lead to a container
    Port(port::Args),
    /// Show what happens to containers, as it happens
    Events(events::Args),
    /// Remove all containers that do not run
    Prune(prune::Args),
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
        Command::Start(args) => start::run(global, args).await,
        Command::Ls(args) => list::run(global, args).await,
        Command::Stats(args) => stats::run(global, args).await,
        Command::Logs(args) => logs::run(global, args).await,
        Command::Cp(args) => copy::run(global, args).await,
        Command::Diff(args) => diff::run(global, args).await,
        Command::Export(args) => export::run(global, args).await,
        Command::Commit(args) => commit::run(global, args).await,
        Command::Stop(args) => stop::run(global, args).await,
        Command::Restart(args) => stop::restart(global, args).await,
        Command::Kill(args) => kill::run(global, args).await,
        Command::Pause(args) => pause::run(global, args).await,
        Command::Unpause(args) => pause::unpause(global, args).await,
        Command::Wait(args) => wait::run(global, args).await,
        Command::Rename(args) => rename::run(global, args).await,
        Command::Update(args) => update::run(global, *args).await,
        Command::Inspect(args) => inspect::run(global, args).await,
        Command::Top(args) => top::run(global, args).await,
        Command::Port(args) => port::run(global, args).await,
        Command::Events(args) => events::run(global, args, Some("container")).await,
        Command::Prune(args) => prune::run(global, args).await,
        Command::Rm(args) => remove::run(global, args).await,
    }
}

/// Shows what happens on a host, to whatever.
///
/// # Errors
/// Whatever it says to the user.
pub async fn all_events(global: &Global, args: EventsArgs) -> Result<ExitCode, CommandError> {
    events::run(global, args, None).await
}
