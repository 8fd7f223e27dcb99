//! `ctl image tag`.

use std::process::ExitCode;

use proto::v1::TagImageRequest;

use crate::cli::Global;
use crate::error::CommandError;

/// Give an image a further name; another image that has it loses it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id of the image
    image: String,
    /// The further name
    name: String,
}

/// Gives it the name.
///
/// # Errors
/// When there is no such image, or the name is none.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let request = TagImageRequest { image: args.image, name: args.name };
    super::images(global).await?.tag_image(request).await?;
    Ok(ExitCode::SUCCESS)
}
