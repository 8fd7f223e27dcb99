//! `ctl node`: the hosts of the cluster.

use std::process::ExitCode;

use proto::v1::ListNodesRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::{self, rows::NodeRow};

/// Nodes: the hosts of the cluster
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the nodes
    #[command(visible_alias = "list")]
    Ls,
}

/// Performs the command.
///
/// # Errors
/// When the controller can't be asked.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode, CommandError> {
    let Command::Ls = command;
    let mut control = super::control(global).await?;
    let nodes = control.list_nodes(ListNodesRequest {}).await?.into_inner().nodes;
    output::list(global.output, &nodes.iter().map(NodeRow::from).collect::<Vec<_>>());
    Ok(ExitCode::SUCCESS)
}
