//! `ctl image push`: brings an image to the registry that its name says.

use std::process::ExitCode;

use proto::v1::registries_client::RegistriesClient;
use proto::v1::{PushImageRequest, PushedImage};
use serde::Serialize;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::transfer::Transfers;
use crate::output::{self, Format};
use crate::{cmd, credentials};

/// What to push, and how.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image; its name says to which registry, for example localhost:5000/web:1
    image: String,
    /// Every tag of the repository that is here
    #[arg(long, short)]
    all_tags: bool,
    /// Of an index only what it has for this platform, such as linux/arm64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", default_value = "", hide_default_value = true)]
    platform: String,
    /// Show no progress, only the digests
    #[arg(long, short)]
    quiet: bool,
}

/// One tag that is in the registry now.
#[derive(Debug, Serialize)]
struct Line {
    image: String,
    digest: String,
    size: u64,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = RegistriesClient::new(cmd::host(global).await?);
    let request = PushImageRequest {
        image: args.image.clone(),
        all_tags: args.all_tags,
        platform: args.platform,
        auth: credentials::for_image(&args.image).await,
    };
    let mut shown = (!args.quiet).then(|| Transfers::start("sending", &format!("pushing {}", args.image)));
    let mut events = agent.push_image(request).await?.into_inner();
    let mut pushed = Vec::new();
    let outcome = loop {
        let event = match events.message().await {
            Ok(Some(event)) => event,
            Ok(None) => break Ok(()),
            Err(status) => break Err(status.into()),
        };
        if let Some(shown) = &mut shown {
            shown.layer(&event.digest, event.phase(), event.bytes, event.total_bytes, &event.mounted_from);
            if !event.note.is_empty() {
                shown.note(&event.note);
            }
            if let Some(part) = event.pushed.as_ref().filter(|image| !image.instead_of.is_empty()) {
                shown.note(&partly(part));
            }
        }
        pushed.extend(event.pushed);
    };
    if let Some(shown) = shown {
        shown.finish();
    }
    // What arrived before a failure is there.
    print(global.output, pushed);
    outcome.map(|()| ExitCode::SUCCESS)
}

fn print(format: Format, pushed: Vec<PushedImage>) {
    let lines =
        pushed.into_iter().map(|one| Line { image: one.image, digest: one.digest, size: one.size_bytes });
    let lines: Vec<Line> = lines.collect();
    match format {
        Format::Json => output::json(&lines),
        Format::Table => {
            for line in &lines {
                output::line(&format!("{}: {}", line.image, line.digest));
            }
        }
    }
}

fn partly(image: &PushedImage) -> String {
    format!(
        "{}: of the index {} only what is on this host was pushed, and the tag stands for that; to push all of it, pull the other platforms first",
        image.image, image.instead_of
    )
}
