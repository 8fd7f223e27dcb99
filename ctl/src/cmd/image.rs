//! `ctl image`: the images of this host.

use std::process::ExitCode;

use proto::v1::{ListImagesRequest, PullImageRequest};

use crate::cli::Global;
use crate::client::Node;
use crate::error::CommandError;
use crate::output::progress::PullProgress;
use crate::output::{self, rows::ImageRow};

/// Images on this host
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the images
    #[command(visible_alias = "list")]
    Ls,
    /// Fetch an image from its registry
    Pull {
        /// The image, for example localhost:5000/web:1
        image: String,
    },
}

/// Performs the command.
///
/// # Errors
/// When the agent can't be asked or the pull fails.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode, CommandError> {
    let mut agent = super::agent(global).await?;
    match command {
        Command::Ls => {
            let images = agent.list_images(ListImagesRequest {}).await?.into_inner().images;
            output::list(global.output, &images.iter().map(ImageRow::from).collect::<Vec<_>>());
        }
        Command::Pull { image } => {
            let digest = pull(&mut agent, &image).await?;
            output::line(&digest);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Pulls an image with progress on stderr; answers its manifest's digest.
///
/// # Errors
/// What the registry or the agent said.
pub async fn pull(agent: &mut Node, image: &str) -> Result<String, CommandError> {
    let mut progress = PullProgress::start(image);
    let outcome = follow(agent, image, &mut progress).await;
    progress.finish();
    outcome
}

/// Pulls an image and shows nothing.
///
/// # Errors
/// As [`pull`].
pub(super) async fn pull_quietly(agent: &mut Node, image: &str) -> Result<String, CommandError> {
    let request = PullImageRequest { image: image.to_owned() };
    let mut events = agent.pull_image(request).await?.into_inner();
    let mut digest = String::new();
    while let Some(event) = events.message().await? {
        if !event.image_digest.is_empty() {
            digest = event.image_digest;
        }
    }
    Ok(digest)
}

async fn follow(agent: &mut Node, image: &str, progress: &mut PullProgress) -> Result<String, CommandError> {
    let request = PullImageRequest { image: image.to_owned() };
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
