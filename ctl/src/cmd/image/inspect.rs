//! `ctl image inspect`.

use std::process::ExitCode;

use proto::v1::InspectImageRequest;
use serde_json::Value;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output;
use crate::output::shape::{self, Shape};

/// Show all there is to know about images, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The variant for this platform instead of what is run on this host
    #[arg(long, value_name = "PLATFORM", default_value = "", hide_default_value = true)]
    platform: String,
    /// json, or a template for each image, such as '{{.Config.Cmd}}'
    #[arg(long, short = 'f', value_name = "FORMAT", value_parser = shape::shape)]
    format: Option<Shape>,
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Prints each image.
///
/// # Errors
/// When there is no such image.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut client = super::images(global).await?;
    let mut all: Vec<Value> = Vec::new();
    for image in args.images {
        let request = InspectImageRequest { image, platform: args.platform.clone() };
        let json = client.inspect_image(request).await?.into_inner().json;
        let value = serde_json::from_str(&json);
        all.push(value.map_err(|error| CommandError::internal(format!("the agent sent no JSON: {error}")))?);
    }
    match args.format {
        Some(Shape::Lines(template) | Shape::Columns(template)) => {
            for image in &all {
                output::line(&shape::filled(&template, image)?);
            }
        }
        _ => output::json(&all),
    }
    Ok(ExitCode::SUCCESS)
}
