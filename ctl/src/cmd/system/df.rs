//! `ctl system df`.

use std::process::ExitCode;

use proto::v1::DiskUsageRequest;
use proto::v1::images_client::ImagesClient;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::rows::{ContainerSpaceRow, ImageSpaceRow, SpaceRow, VolumeSpaceRow};
use crate::output::shape::{self, Shape};
use crate::output::{self, Format};

/// Show what images, containers and volumes take of the disk
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Each image, container and volume
    #[arg(long, short = 'v')]
    verbose: bool,
    /// table, json, a template with Docker's names such as '{{.Type}} {{.Size}}', or table TEMPLATE
    #[arg(long, value_name = "FORMAT", value_parser = shape::shape, conflicts_with = "verbose")]
    format: Option<Shape>,
}

/// Prints a line for each kind, or for each object.
///
/// # Errors
/// When the agent can't be asked.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut client = ImagesClient::new(crate::cmd::host(global).await?);
    let usage = client.disk_usage(DiskUsageRequest {}).await?.into_inner();
    if !args.verbose {
        match &args.format {
            Some(shape) => shape::print(shape, &SpaceRow::all(&usage))?,
            None => output::list(global.output, &SpaceRow::all(&usage)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let images: Vec<ImageSpaceRow> = usage.images.iter().map(ImageSpaceRow::from).collect();
    let containers: Vec<ContainerSpaceRow> = usage.containers.iter().map(ContainerSpaceRow::from).collect();
    let volumes: Vec<VolumeSpaceRow> = usage.volumes.iter().map(VolumeSpaceRow::from).collect();
    match global.output {
        Format::Json => output::json(&serde_json::json!({
            "images": images, "containers": containers, "volumes": volumes,
            "image_bytes": usage.image_bytes,
            "image_unused_bytes": usage.image_unused_bytes,
            "garbage_bytes": usage.garbage_bytes,
        })),
        Format::Table => {
            output::list(Format::Table, &images);
            output::line("");
            output::list(Format::Table, &containers);
            output::line("");
            output::list(Format::Table, &volumes);
        }
    }
    Ok(ExitCode::SUCCESS)
}
