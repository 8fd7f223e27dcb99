//! `ctl volume create`.

use std::process::ExitCode;

use proto::v1::CreateVolumeRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output;

/// Create a volume
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name; without one a name is made, and the volume is anonymous
    name: Option<String>,
    /// What provides it; local is the only driver
    #[arg(long, short = 'd', default_value = "local", value_name = "DRIVER")]
    driver: String,
    /// Attach a label: KEY=VALUE
    #[arg(long, value_name = "LABEL", value_parser = super::pair)]
    label: Vec<(String, String)>,
    /// An option of the driver: type=, device=, o= as `mount` has them, or size=
    #[arg(long, visible_alias = "option", value_name = "OPTION", value_parser = super::pair)]
    opt: Vec<(String, String)>,
}

/// Creates the volume and prints its name.
///
/// # Errors
/// When a name or option breaks a rule, or the agent refuses.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let request = CreateVolumeRequest {
        name: args.name.unwrap_or_default(),
        driver: args.driver,
        labels: args.label.into_iter().collect(),
        options: args.opt.into_iter().collect(),
    };
    let made = super::volumes(global).await?.create_volume(request).await?.into_inner().volume;
    output::line(&made.unwrap_or_default().name);
    Ok(ExitCode::SUCCESS)
}
