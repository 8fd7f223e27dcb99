//! `ctl volume inspect`.

use std::process::ExitCode;

use proto::v1::GetVolumeRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::{self, rows::VolumeRow};

/// Show all there is to know about volumes, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names of volumes
    #[arg(required = true)]
    volumes: Vec<String>,
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
    output::json(&rows);
    Ok(ExitCode::SUCCESS)
}
