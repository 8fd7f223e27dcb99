//! From the agent: heartbeats and reports. What does not parse ends the session
//! of this agent and touches no other; what comes too fast waits in the agent.

use std::time::Duration;

use controller_core::{Input, NodeId, State, TaskStatus};
use proto::v1::{self, session_request::Message as Up};
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use crate::convert;
use crate::error::ApiError;
use crate::server::Context;

/// The shortest time between two messages of one agent: it batches reports for
/// 50 ms anyway, so an agent in order never waits.
const PACE: Duration = Duration::from_millis(10);

pub(super) async fn run(
    context: &Context,
    node: NodeId,
    requests: &mut Streaming<v1::SessionRequest>,
) -> Result<(), Status> {
    while let Some(request) = requests.message().await? {
        let next = Instant::now() + PACE;
        match request.message {
            Some(Up::Heartbeat(v1::Heartbeat {})) => context.leader.send(Input::Heartbeat { node }).await,
            Some(Up::Report(report)) => {
                let statuses = convert::statuses(report).map_err(ApiError::from)?;
                let statuses = own(&context.store.state(), node, statuses);
                if !statuses.is_empty() {
                    context.leader.send(Input::Report { node, statuses }).await;
                }
            }
            Some(Up::Register(_)) => {
                return Err(ApiError::Protocol("a session has one Register, its first message").into());
            }
            None => return Err(ApiError::Protocol("a message of a session must not be empty").into()),
        }
        sleep_until(next).await;
    }
    Ok(())
}

/// A node may write the status of its own tasks only. What it says of others,
/// or of tasks that were forgotten meanwhile, is left out.
fn own(state: &State, node: NodeId, statuses: Vec<TaskStatus>) -> Vec<TaskStatus> {
    let count = statuses.len();
    let is_own = |status: &TaskStatus| state.task(&status.task).is_some_and(|task| task.node == Some(node));
    let statuses: Vec<_> = statuses.into_iter().filter(is_own).collect();
    if statuses.len() < count {
        tracing::debug!(left_out = count - statuses.len(), "statuses of tasks that are not its own");
    }
    statuses
}
