//! `ctl image`: the images of this host, one file per verb, on this host or on a node.

mod archive;
mod history;
mod import;
mod inspect;
mod list;
mod load;
pub(super) mod prune;
mod pull;
mod push;
mod remove;
mod save;
mod tag;

pub use self::pull::{Args as PullArgs, pull, pull_quietly};
pub use self::push::Args as PushArgs;

use std::process::ExitCode;

use proto::v1::images_client::ImagesClient;

use crate::cli::Global;
use crate::client::Host;
use crate::error::CommandError;

pub use list::Args as ListArgs;
pub use remove::Args as RemoveArgs;

/// Images on this host
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the images
    #[command(visible_alias = "list")]
    Ls(list::Args),
    /// Fetch an image from its registry
    Pull(pull::Args),
    /// Bring an image to the registry that its name says
    Push(push::Args),
    /// Show all there is to know about images
    Inspect(inspect::Args),
    /// Show how an image was made
    History(history::Args),
    /// Give an image a further name
    Tag(tag::Args),
    /// Remove images, or names of images
    #[command(visible_alias = "remove")]
    Rm(remove::Args),
    /// Write images as an archive
    Save(save::Args),
    /// Take images from an archive
    Load(load::Args),
    /// Make an image of an archive of files
    Import(import::Args),
    /// Remove images that no container uses
    Prune(prune::Args),
}

/// Performs the command.
///
/// # Errors
/// When the agent can't be asked or what it says.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Ls(args) => list::run(global, args).await,
        Command::Pull(args) => pull::run(global, args).await,
        Command::Push(args) => push::run(global, args).await,
        Command::Inspect(args) => inspect::run(global, args).await,
        Command::History(args) => history::run(global, args).await,
        Command::Tag(args) => tag::run(global, args).await,
        Command::Rm(args) => remove::run(global, args).await,
        Command::Save(args) => save::run(global, args).await,
        Command::Load(args) => load::run(global, args).await,
        Command::Import(args) => import::run(global, args).await,
        Command::Prune(args) => prune::run(global, args).await,
    }
}

/// A client for what can be done with images beyond pulling and listing them.
async fn images(global: &Global) -> Result<ImagesClient<Host>, CommandError> {
    super::host(global).await.map(ImagesClient::new)
}
