//! `ctl container start`: for several at once, or for one whose terminal one
//! then is, as with `run`.

use std::process::ExitCode;

use proto::v1::{InspectContainerRequest, StartContainerRequest};

use super::attach;
use super::detach::Keys;
use super::options::refused::{OfStart, Refused};
use super::several::{Containers, each};
use crate::cli::Global;
use crate::error::{CommandError, Kind};

/// Start containers that do not run
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print what it writes, and exit with its exit code
    #[arg(long, short = 'a')]
    attach: bool,
    /// Also send it standard input
    #[arg(long, short = 'i')]
    interactive: bool,
    /// Keys that leave a terminal
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: Keys,
    /// What is known and not taken.
    #[command(flatten)]
    refused: Refused<OfStart>,
    /// Which containers.
    #[command(flatten)]
    containers: Containers,
}

/// Starts each container.
///
/// # Errors
/// When there is no such container, or it can't be started.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    args.refused.check()?;
    let mut containers = args.containers.containers;
    if args.attach || args.interactive {
        return match (containers.pop(), containers.is_empty()) {
            (Some(container), true) => attached(global, container, args.interactive, args.detach_keys).await,
            _ => Err(CommandError::new(Kind::Usage, "only one container can be started and attached to")
                .hint("leave out --attach and --interactive to start several")),
        };
    }
    let agent = crate::cmd::agent(global).await?;
    each(containers, async |container| {
        agent.clone().start_container(StartContainerRequest { container }).await.map(drop)
    })
    .await
}

async fn attached(
    global: &Global,
    container: String,
    stdin: bool,
    detach_keys: Keys,
) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let request = InspectContainerRequest { container, size: false };
    let found = agent.inspect_container(request).await?.into_inner().container.unwrap_or_default();
    let options =
        attach::Options { stdin, terminal: found.terminal, keys: detach_keys, ..attach::Options::default() };
    let session = attach::open_next(&mut agent, &found.id, options).await?;
    // Started meanwhile is fine: then this is an attachment to what runs.
    if !matches!(found.state.as_str(), "running" | "paused") {
        agent.start_container(StartContainerRequest { container: found.id.clone() }).await?;
    }
    Ok(ExitCode::from(session.run(global, agent, &found.id).await?))
}
