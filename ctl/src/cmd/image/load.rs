//! `ctl image load`.

use std::path::PathBuf;
use std::process::ExitCode;

use proto::v1::load_images_request::Message;
use proto::v1::load_images_response::Message as Answer;
use proto::v1::{LoadImagesOpen, LoadImagesRequest};

use super::archive;
use crate::cli::Global;
use crate::error::CommandError;
use crate::output::{self, Format, rows};

/// Take images from an archive, as `save` and `docker save` write it, plain or compressed with gzip
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read this file instead of standard input
    #[arg(long, short = 'i', value_name = "FILE")]
    input: Option<PathBuf>,
    /// Only the variants for this platform
    #[arg(long, value_name = "PLATFORM", default_value = "", hide_default_value = true)]
    platform: String,
    /// Do not tell what is being unpacked
    #[arg(long, short = 'q')]
    quiet: bool,
}

/// Loads them and prints their names.
///
/// # Errors
/// When the archive can't be read or makes no sense; nothing of it is kept then.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let source = archive::open(args.input.as_deref(), "ctl image load < FILE")?;
    let mut client = super::images(global).await?;
    let message = |message| LoadImagesRequest { message: Some(message) };
    let open = Message::Open(LoadImagesOpen { platform: args.platform });
    let piece = move |data| message(Message::Archive(data));
    let (requests, reading) =
        archive::messages(source, message(open), piece, message(Message::Complete(true)));
    let answers = match client.load_images(requests).await {
        Ok(answers) => answers,
        Err(status) => {
            archive::finish(reading).await?;
            return Err(status.into());
        }
    };
    let mut answers = answers.into_inner();
    let mut loaded = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => match answer.message {
                Some(Answer::Unpacking(layer)) if !args.quiet => {
                    output::note(&format!("unpacking {}", rows::short_digest(&layer)));
                }
                Some(Answer::Loaded(image)) => loaded.push(image),
                _ => {}
            },
            Ok(None) => break,
            Err(status) => {
                archive::finish(reading).await?;
                return Err(status.into());
            }
        }
    }
    archive::finish(reading).await?;
    match global.output {
        Format::Json => {
            let all = loaded.iter().map(|image| serde_json::json!({"id": image.id, "names": image.names}));
            output::json(&all.collect::<Vec<_>>());
        }
        Format::Table => {
            for image in &loaded {
                image.names.iter().for_each(|name| output::line(&format!("Loaded image: {name}")));
                if image.names.is_empty() {
                    output::line(&format!("Loaded image ID: {}", image.id));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
