//! `ctl service ls`.

use std::process::ExitCode;

use proto::v1::ListServicesRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::{self, rows::ServiceRow};

/// Lists the services.
///
/// # Errors
/// When the controller can't be asked.
pub(super) async fn run(global: &Global) -> Result<ExitCode, CommandError> {
    let mut control = crate::cmd::control(global).await?;
    let services = control.list_services(ListServicesRequest {}).await?.into_inner().services;
    output::list(global.output, &services.iter().map(ServiceRow::from).collect::<Vec<_>>());
    Ok(ExitCode::SUCCESS)
}
