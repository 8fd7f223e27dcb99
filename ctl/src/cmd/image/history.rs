//! `ctl image history`.

use std::process::ExitCode;

use proto::v1::ImageHistoryRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output;
use crate::output::rows::{HistoryRow, short_digest};
use crate::output::shape::{self, Shape};

/// Show how an image was made, the last step first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print everything in full
    #[arg(long)]
    no_trunc: bool,
    /// Print the digests of layers only
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Of the variant for this platform instead of what is run on this host
    #[arg(long, value_name = "PLATFORM", default_value = "", hide_default_value = true)]
    platform: String,
    /// table, json, a template with Docker's names such as '{{.CreatedBy}}', or table TEMPLATE
    #[arg(long, value_name = "FORMAT", value_parser = shape::shape, conflicts_with = "quiet")]
    format: Option<Shape>,
    /// Name or id of the image
    image: String,
}

/// Prints the steps.
///
/// # Errors
/// When there is no such image.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let request = ImageHistoryRequest { image: args.image, platform: args.platform };
    let lines = super::images(global).await?.image_history(request).await?.into_inner().lines;
    if args.quiet {
        for line in lines.iter().filter(|line| !line.layer.is_empty()) {
            output::line(&if args.no_trunc { line.layer.clone() } else { short_digest(&line.layer) });
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<HistoryRow> = lines.into_iter().map(|line| HistoryRow::of(line, args.no_trunc)).collect();
    match &args.format {
        Some(shape) => shape::print(shape, &rows)?,
        None => output::list(global.output, &rows),
    }
    Ok(ExitCode::SUCCESS)
}
