//! `ctl volume rm`.

use std::process::ExitCode;

use proto::v1::RemoveVolumeRequest;
use tonic::Code;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output;

/// Remove volumes and what is in them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not mind volumes that are not there
    #[arg(long, short = 'f')]
    force: bool,
    /// Names of volumes
    #[arg(required = true)]
    volumes: Vec<String>,
}

/// Removes each volume; the first failure ends it.
///
/// # Errors
/// When there is no such volume, or containers have it.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut client = super::volumes(global).await?;
    for name in args.volumes {
        match client.remove_volume(RemoveVolumeRequest { name: name.clone() }).await {
            Err(status) if args.force && status.code() == Code::NotFound => {}
            removed => {
                removed?;
            }
        }
        output::line(&name);
    }
    Ok(ExitCode::SUCCESS)
}
