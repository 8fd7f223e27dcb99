//! `ctl volume inspect`.

use std::process::ExitCode;

use proto::v1::GetVolumeRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::shape::{self, Shape};
use crate::output::{self, rows::VolumeRow};

/// Show all there is to know about volumes, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names of volumes
    #[arg(required = true)]
    volumes: Vec<String>,
    /// json, or a template for each volume, such as '{{.Mountpoint}}'
    #[arg(long, short = 'f', value_name = "FORMAT", value_parser = shape::shape)]
    format: Option<Shape>,
}

/// Prints each volume.
///
/// # Errors
/// When there is no such volume.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut client = super::volumes(global).await?;
    let mut rows = Vec::new();
    for name in args.volumes {
        let found = client.get_volume(GetVolumeRequest { name }).await?.into_inner().volume;
        rows.extend(found.as_ref().map(VolumeRow::from));
    }
    match args.format {
        Some(Shape::Lines(template) | Shape::Columns(template)) => {
            for row in &rows {
                let document = serde_json::to_value(row).unwrap_or_default();
                output::line(&shape::filled(&template, &document)?);
            }
        }
        _ => output::json(&rows),
    }
    Ok(ExitCode::SUCCESS)
}
