//! `ctl image`: the images of this host, one file per verb, on this host or on a node.

mod archive;
mod history;
mod import;
mod inspect;
mod list;
mod load;
pub(super) mod prune;
mod remove;
mod save;
mod tag;

use std::process::ExitCode;

use proto::v1::PullImageRequest;
use proto::v1::images_client::ImagesClient;

use crate::cli::Global;
use crate::client::{Host, Node};
use crate::error::CommandError;
use crate::output;
use crate::output::progress::PullProgress;

pub use list::Args as ListArgs;
pub use remove::Args as RemoveArgs;

/// Images on this host
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the images
    #[command(visible_alias = "list")]
    Ls(list::Args),
    /// Fetch an image from its registry
    Pull(PullArgs),
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

/// Fetch an image from its registry
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// For another platform than this host's, for example linux/arm64
    #[arg(long, value_name = "PLATFORM", default_value = "", hide_default_value = true)]
    platform: String,
    /// The image, for example localhost:5000/web:1
    image: String,
}

/// Performs the command.
///
/// # Errors
/// When the agent can't be asked or what it says.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Ls(args) => list::run(global, args).await,
        Command::Pull(args) => {
            let mut agent = super::agent(global).await?;
            let request = PullImageRequest { image: args.image, platform: args.platform };
            let digest = pull_with_progress(&mut agent, request).await?;
            output::line(&digest);
            Ok(ExitCode::SUCCESS)
        }
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

/// Pulls an image with progress on stderr; answers its digest.
///
/// # Errors
/// What the registry or the agent said.
pub async fn pull(agent: &mut Node, image: &str) -> Result<String, CommandError> {
    let request = PullImageRequest { image: image.to_owned(), ..PullImageRequest::default() };
    pull_with_progress(agent, request).await
}

async fn pull_with_progress(agent: &mut Node, request: PullImageRequest) -> Result<String, CommandError> {
    let mut progress = PullProgress::start(&request.image);
    let outcome = follow(agent, request, &mut progress).await;
    progress.finish();
    outcome
}

/// Pulls an image and shows nothing.
///
/// # Errors
/// As [`pull`].
pub(super) async fn pull_quietly(agent: &mut Node, image: &str) -> Result<String, CommandError> {
    let request = PullImageRequest { image: image.to_owned(), ..PullImageRequest::default() };
    let mut events = agent.pull_image(request).await?.into_inner();
    let mut digest = String::new();
    while let Some(event) = events.message().await? {
        if !event.image_digest.is_empty() {
            digest = event.image_digest;
        }
    }
    Ok(digest)
}

async fn follow(
    agent: &mut Node,
    request: PullImageRequest,
    progress: &mut PullProgress,
) -> Result<String, CommandError> {
    let mut events = agent.pull_image(request).await?.into_inner();
    let mut digest = String::new();
    while let Some(event) = events.message().await? {
        progress.layer(&event.digest, event.bytes, event.total_bytes, event.done);
        if !event.image_digest.is_empty() {
            digest = event.image_digest;
        }
    }
    Ok(digest)
}
