//! Doing the same to several containers: a line for each that it was done to,
//! an error for each it was not, and a failed command if there was one.

use std::process::ExitCode;

use crate::error::{CommandError, Kind};
use crate::output;

/// Names or ids of containers.
#[derive(Debug, clap::Args)]
pub(super) struct Containers {
    /// Names, ids or unique beginnings of ids of containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(super) containers: Vec<String>,
}

/// Does it to each container in turn. One failure alone is the command's own.
///
/// # Errors
/// The failure, when there is one container; [`Kind::Internal`] is left to what several failures become.
pub(super) async fn each(
    containers: Vec<String>,
    act: impl AsyncFn(String) -> Result<(), tonic::Status>,
) -> Result<ExitCode, CommandError> {
    let is_one = containers.len() == 1;
    let mut failures = Failures::default();
    for container in containers {
        match act(container.clone()).await {
            Ok(()) => output::line(&container),
            Err(status) if is_one => return Err(status.into()),
            Err(status) => failures.add(&container, status.into())?,
        }
    }
    Ok(failures.exit_code())
}

/// Failures that were told already.
#[derive(Debug, Default)]
pub(super) struct Failures {
    any: bool,
}

impl Failures {
    /// Tells a failure and goes on.
    ///
    /// # Errors
    /// With the failure, when there is no sense in going on: nobody answers.
    pub(super) fn add(&mut self, container: &str, error: CommandError) -> Result<(), CommandError> {
        if error.kind == Kind::Unavailable {
            return Err(error);
        }
        self.any = true;
        let about = if error.message.contains(container) { String::new() } else { format!("{container}: ") };
        output::fail(&CommandError { message: format!("{about}{}", error.message), ..error });
        Ok(())
    }

    /// 1 if anything failed, as with Docker.
    pub(super) fn exit_code(&self) -> ExitCode {
        if self.any { ExitCode::from(Kind::Internal.exit_code()) } else { ExitCode::SUCCESS }
    }
}
