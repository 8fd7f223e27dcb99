//! `ctl cluster`: what the cluster is, and tokens to join it.

use std::process::ExitCode;

use proto::v1::{CreateJoinTokenRequest, GetClusterRequest, GetClusterResponse};
use serde::Serialize;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::{self, Format, Row, time};

/// The cluster itself
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the cluster
    Info,
    /// Make a token with which an agent joins
    Token {
        /// How long it is valid, in seconds
        #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
        ttl: u64,
    },
}

#[derive(Debug, Serialize)]
struct ClusterRow {
    id: String,
    controller: String,
    leader: String,
    applied_index: u64,
    version: String,
    nodes_ready: u32,
    nodes: u32,
    services: u32,
}

impl From<GetClusterResponse> for ClusterRow {
    fn from(cluster: GetClusterResponse) -> Self {
        Self {
            id: cluster.id,
            controller: cluster.controller_id,
            leader: cluster.leader_id,
            applied_index: cluster.applied_index,
            version: cluster.version,
            nodes_ready: cluster.nodes_ready,
            nodes: cluster.nodes,
            services: cluster.services,
        }
    }
}

impl Row for ClusterRow {
    fn headings() -> Vec<&'static str> {
        vec!["CLUSTER", "CONTROLLER", "LEADER", "APPLIED", "NODES", "SERVICES", "VERSION"]
    }
    fn cells(&self) -> Vec<String> {
        vec![
            output::rows::short(&self.id),
            self.controller.clone(),
            self.leader.clone(),
            self.applied_index.to_string(),
            format!("{}/{}", self.nodes_ready, self.nodes),
            self.services.to_string(),
            self.version.clone(),
        ]
    }
}

#[derive(Debug, Serialize)]
struct Token {
    token: String,
    expires_at: String,
}

/// Performs the command.
///
/// # Errors
/// When the controller can't be asked.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode, CommandError> {
    let mut control = super::control(global).await?;
    match command {
        Command::Info => {
            let cluster = control.get_cluster(GetClusterRequest {}).await?.into_inner();
            output::list(global.output, &[ClusterRow::from(cluster)]);
        }
        Command::Token { ttl } => {
            let request = CreateJoinTokenRequest { role: "agent".into(), ttl_seconds: ttl };
            let made = control.create_join_token(request).await?.into_inner();
            let token = Token { token: made.token, expires_at: time::rfc3339(made.expires_at_ms) };
            match global.output {
                Format::Json => output::json(&token),
                Format::Table => {
                    output::line(&token.token);
                    output::note(&format!(
                        "valid until {}; join with:  agent --join HOST:PORT --token ...",
                        token.expires_at
                    ));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
