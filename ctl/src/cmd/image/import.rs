//! `ctl image import`.

use std::path::PathBuf;
use std::process::ExitCode;

use proto::v1::import_image_request::Message;
use proto::v1::{ImportImageOpen, ImportImageRequest};

use super::archive;
use crate::cli::Global;
use crate::error::{CommandError, Kind};
use crate::output;

/// Make an image of an archive of files, as `container export` writes it, plain or compressed with gzip
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Change the image's configuration by an instruction: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, USER, VOLUME
    /// or WORKDIR
    #[arg(long, short = 'c', value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What it is for
    #[arg(long, short = 'm', default_value = "", hide_default_value = true)]
    message: String,
    /// What it is made for, if not for this host's platform
    #[arg(long, value_name = "PLATFORM", default_value = "", hide_default_value = true)]
    platform: String,
    /// The archive, - for standard input
    file: PathBuf,
    /// Name of the image
    #[arg(default_value = "", hide_default_value = true)]
    image: String,
}

/// Makes the image and prints its id.
///
/// # Errors
/// When the archive can't be read or unpacked; no image is made then.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let text = args.file.to_string_lossy();
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(CommandError::new(Kind::Usage, format!("{text} is an address, and only files are read"))
            .hint(format!("fetch it yourself:  curl {text} | ctl image import - NAME")));
    }
    let path = (text != "-").then_some(args.file.as_path());
    let source = archive::open(path, "ctl image import - NAME < FILE")?;
    let mut client = super::images(global).await?;
    let message = |message| ImportImageRequest { message: Some(message) };
    let open = ImportImageOpen {
        image: args.image,
        message: args.message,
        changes: args.change,
        platform: args.platform,
    };
    let piece = move |data| message(Message::Archive(data));
    let last = message(Message::Complete(true));
    let (requests, reading) = archive::messages(source, message(Message::Open(open)), piece, last);
    let answer = client.import_image(requests).await;
    archive::finish(reading).await?;
    output::line(&answer?.into_inner().id);
    Ok(ExitCode::SUCCESS)
}
