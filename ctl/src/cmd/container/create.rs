//! `ctl container create`: a container that `start` starts.

use std::process::ExitCode;

use super::options::Options;
use crate::cli::Global;
use crate::error::{CommandError, Kind};
use crate::output;

/// Create a container, to be started later
// Docker's -h is the host name, so the short form of help has to go.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// What it is to be.
    #[command(flatten)]
    options: Options,
}

/// Creates it and prints its id.
///
/// # Errors
/// When it can't be created.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    if !args.options.attach.is_empty() {
        return Err(CommandError::new(
            Kind::Usage,
            "--attach is not taken: nothing runs yet that writes anything",
        )
        .hint("start it with its output:  ctl container start --attach NAME"));
    }
    let mut agent = crate::cmd::agent(global).await?;
    output::line(&args.options.create(&mut agent).await?);
    Ok(ExitCode::SUCCESS)
}
