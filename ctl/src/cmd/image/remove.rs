//! `ctl image rm` and `ctl rmi`.

use std::process::ExitCode;

use proto::v1::RemoveImageRequest;
use tonic::Code;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::{self, Format};

/// Remove images, or names of images: an image goes with its last name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// All names of an image at once, also of one that containers use, and do not mind what is not there
    #[arg(long, short = 'f')]
    force: bool,
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Removes each; what fails is told, and the others are removed all the same.
///
/// # Errors
/// When the agent can't be asked.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut client = super::images(global).await?;
    let (mut untagged, mut deleted, mut failure) = (Vec::new(), Vec::new(), None);
    for image in args.images {
        match client.remove_image(RemoveImageRequest { image, force: args.force }).await {
            Ok(done) => {
                let done = done.into_inner();
                if global.output == Format::Table {
                    show(&done.untagged, &done.deleted);
                }
                untagged.extend(done.untagged);
                deleted.extend(done.deleted);
            }
            Err(status) if args.force && status.code() == Code::NotFound => {}
            Err(status) => {
                let error = CommandError::from(status);
                output::fail(&error);
                failure.get_or_insert(error.kind);
            }
        }
    }
    if global.output == Format::Json {
        output::json(&serde_json::json!({"untagged": untagged, "deleted": deleted}));
    }
    Ok(failure.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code())))
}

/// As Docker says it.
pub(super) fn show(untagged: &[String], deleted: &[String]) {
    untagged.iter().for_each(|name| output::line(&format!("Untagged: {name}")));
    deleted.iter().for_each(|id| output::line(&format!("Deleted: {id}")));
}
