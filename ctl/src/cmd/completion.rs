//! `ctl completion`: a completion script on stdout.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::error::CommandError;
use crate::{complete, output};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When there is none.
pub fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let script = complete::script(&args.shell.to_string())
        .map_err(|error| CommandError::internal(format!("there is no script for {}: {error}", args.shell)))?;
    // A closed pipe is not an error of ours.
    let _ = output::bytes(&script, false);
    Ok(ExitCode::SUCCESS)
}
