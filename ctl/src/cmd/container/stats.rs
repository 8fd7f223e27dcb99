//! `ctl container stats`.

use std::process::ExitCode;

use proto::v1::{ContainerUsageRequest, ListContainersRequest};
use tonic::Code;

use crate::cli::Global;
use crate::client::Node;
use crate::error::CommandError;
use crate::output::{self, rows::UsageRow};

/// Show what running containers use
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this one: a name or the beginning of an id
    container: Option<String>,
}

/// Shows what one container uses, or each that runs.
///
/// # Errors
/// When the agent can't be asked, or the one container does not run.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let rows = match args.container {
        Some(container) => {
            let usage = agent.container_usage(ContainerUsageRequest { container }).await?.into_inner();
            vec![UsageRow::from(&usage)]
        }
        None => of_all(&mut agent).await?,
    };
    output::list(global.output, &rows);
    Ok(ExitCode::SUCCESS)
}

async fn of_all(agent: &mut Node) -> Result<Vec<UsageRow>, CommandError> {
    let running = agent.list_containers(ListContainersRequest::default()).await?.into_inner().containers;
    let mut rows = Vec::new();
    for container in running {
        match agent.container_usage(ContainerUsageRequest { container: container.id }).await {
            Ok(usage) => rows.push(UsageRow::from(&usage.into_inner())),
            // It has ended since it was listed.
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::NotFound) => {}
            Err(status) => return Err(status.into()),
        }
    }
    Ok(rows)
}
