//! `ctl service ps`.

use std::process::ExitCode;

use proto::v1::{GetServiceRequest, ListTasksRequest};

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::{self, rows::TaskRow};

/// List the tasks of a service
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id of the service
    service: String,
}

/// Lists the tasks by slot, the newest of each slot first.
///
/// # Errors
/// When there is no such service.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut control = crate::cmd::control(global).await?;
    control.get_service(GetServiceRequest { service: args.service.clone() }).await?;
    let request = ListTasksRequest { service: args.service, ..ListTasksRequest::default() };
    let mut tasks = control.list_tasks(request).await?.into_inner().tasks;
    tasks.sort_by_key(|task| (task.slot, std::cmp::Reverse(task.created_at_ms)));
    output::list(global.output, &tasks.iter().map(TaskRow::from).collect::<Vec<_>>());
    Ok(ExitCode::SUCCESS)
}
