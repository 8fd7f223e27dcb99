//! `ctl service inspect`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use proto::v1::{GetServiceRequest, ListTasksRequest};
use serde::Serialize;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::rows::{ServiceRow, TaskRow};

/// Show a service as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id of the service
    service: String,
}

#[derive(Debug, Serialize)]
struct Inspection {
    #[serde(flatten)]
    service: ServiceRow,
    env: Vec<String>,
    command: Vec<String>,
    log_driver: String,
    log_options: BTreeMap<String, String>,
    update_message: String,
    tasks: Vec<TaskRow>,
}

/// Prints the service and its tasks.
///
/// # Errors
/// When there is no such service.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut control = crate::cmd::control(global).await?;
    let request = GetServiceRequest { service: args.service };
    let service = control.get_service(request).await?.into_inner().service.unwrap_or_default();
    let request = ListTasksRequest { service: service.id.clone(), ..ListTasksRequest::default() };
    let tasks = control.list_tasks(request).await?.into_inner().tasks;
    let container = service.spec.clone().unwrap_or_default().container.unwrap_or_default();
    let logging = container.logging.unwrap_or_default();
    crate::output::json(&Inspection {
        service: ServiceRow::from(&service),
        env: container.env,
        command: container.command,
        log_driver: logging.driver,
        log_options: logging.options.into_iter().collect(),
        update_message: service.update_status.unwrap_or_default().message,
        tasks: tasks.iter().map(TaskRow::from).collect(),
    });
    Ok(ExitCode::SUCCESS)
}
