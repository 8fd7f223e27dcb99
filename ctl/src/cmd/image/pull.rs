//! `ctl image pull`: fetches an image, with progress on stderr and its digest on stdout.

use std::process::ExitCode;

use proto::v1::{PullImageRequest, TransferPhase};

use crate::cli::Global;
use crate::client::Node;
use crate::error::CommandError;
use crate::output::transfer::Transfers;
use crate::{credentials, output};

/// What to pull, and how.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image, for example localhost:5000/web:1
    image: String,
    /// Not this host's platform but this one, such as linux/arm64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", default_value = "", hide_default_value = true)]
    platform: String,
    /// Show no progress, only the digest
    #[arg(long, short)]
    quiet: bool,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let request = PullImageRequest { platform: args.platform, ..request(&args.image).await };
    let digest = if args.quiet {
        follow(&mut agent, request, None).await?
    } else {
        shown(&mut agent, request).await?
    };
    output::line(&digest);
    Ok(ExitCode::SUCCESS)
}

/// Pulls an image with progress on stderr; answers its manifest's digest.
///
/// # Errors
/// What the registry or the agent said.
pub async fn pull(agent: &mut Node, image: &str) -> Result<String, CommandError> {
    let request = request(image).await;
    shown(agent, request).await
}

/// Pulls an image and shows nothing.
///
/// # Errors
/// As [`pull`].
pub async fn pull_quietly(agent: &mut Node, image: &str) -> Result<String, CommandError> {
    let request = request(image).await;
    follow(agent, request, None).await
}

/// The request, with the credentials that this user has for the image's registry.
async fn request(image: &str) -> PullImageRequest {
    let auth = credentials::for_image(image).await;
    PullImageRequest { image: image.to_owned(), auth, ..PullImageRequest::default() }
}

async fn shown(agent: &mut Node, request: PullImageRequest) -> Result<String, CommandError> {
    let mut transfers = Transfers::start("fetching", &format!("pulling {}", request.image));
    let outcome = follow(agent, request, Some(&mut transfers)).await;
    transfers.finish();
    outcome
}

async fn follow(
    agent: &mut Node,
    request: PullImageRequest,
    mut transfers: Option<&mut Transfers>,
) -> Result<String, CommandError> {
    let mut events = agent.pull_image(request).await?.into_inner();
    let mut digest = String::new();
    while let Some(event) = events.message().await? {
        if let Some(transfers) = &mut transfers {
            let phase = match event.phase() {
                // An agent of an earlier version.
                TransferPhase::Unspecified if event.done => TransferPhase::Done,
                TransferPhase::Unspecified => TransferPhase::Moving,
                phase => phase,
            };
            transfers.layer(&event.digest, phase, event.bytes, event.total_bytes, "");
            if !event.note.is_empty() {
                transfers.note(&event.note);
            }
        }
        if !event.image_digest.is_empty() {
            digest = event.image_digest;
        }
    }
    Ok(digest)
}
