//! `ctl image save`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use proto::v1::SaveImagesRequest;

use crate::cli::Global;
use crate::error::{CommandError, Kind};
use crate::output;

/// Write images as an archive: an OCI image layout that `docker load` reads, too
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write to this file instead of standard output (also -o)
    #[arg(long, short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only the variant for this platform
    #[arg(long, value_name = "PLATFORM", default_value = "", hide_default_value = true)]
    platform: String,
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Writes them. A file appears under its name once it is whole.
///
/// # Errors
/// When an image is not here, or the archive cannot be written.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    if args.file.is_none() && std::io::stdout().is_terminal() {
        return Err(CommandError::new(Kind::Usage, "an archive does not go to a terminal")
            .hint("write it to a file with --file, or pipe it on"));
    }
    let mut client = super::images(global).await?;
    let request = SaveImagesRequest { images: args.images, platform: args.platform };
    let mut pieces = client.save_images(request).await?.into_inner();
    let Some(path) = args.file else {
        while let Some(piece) = pieces.message().await? {
            if output::bytes(&piece.archive, false).is_err() {
                return Ok(ExitCode::from(output::READER_GONE));
            }
        }
        return Ok(ExitCode::SUCCESS);
    };
    let failed =
        |error: std::io::Error| CommandError::new(Kind::Environment, format!("{}: {error}", path.display()));
    let is_plain = std::fs::metadata(&path).is_ok_and(|found| !found.is_file());
    // A device or pipe is written to as it is; half of a file would be taken for a whole one.
    let part = if is_plain { path.clone() } else { beside(&path) };
    let outcome = async {
        let mut file = std::fs::File::create(&part).map_err(failed)?;
        while let Some(piece) = pieces.message().await? {
            file.write_all(&piece.archive).map_err(failed)?;
        }
        if !is_plain {
            std::fs::rename(&part, &path).map_err(failed)?;
        }
        Ok(ExitCode::SUCCESS)
    };
    let outcome = outcome.await;
    if outcome.is_err() && !is_plain {
        // It may never have been made.
        let _ = std::fs::remove_file(&part);
    }
    outcome
}

fn beside(path: &std::path::Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}
