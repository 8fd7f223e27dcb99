//! To the agent: its assignments, whole first, then what changed. The difference
//! is taken from what was sent last, so an agent that reads slowly gets fewer
//! and larger messages and nothing piles up here.

use std::time::Duration;

use controller_core::NodeId;
use controller_core::assign::{self, AssignmentDiff, AssignmentSet};
use proto::v1::{self, session_response::Message as Down};

use super::session::Sender;
use crate::convert;
use crate::error::ApiError;
use crate::server::Context;

/// Changes within this time become one message.
const MERGE: Duration = Duration::from_millis(20);

/// Runs until the agent is gone (`Ok`) or may not be served any more.
pub(super) async fn run(
    context: &Context,
    node: NodeId,
    serial: u64,
    sender: &Sender,
) -> Result<(), ApiError> {
    let mut changes = context.store.changes();
    let mut chain = Chain { serial, count: 0, sent: None };
    let mut touched = None;
    loop {
        changes.borrow_and_update();
        let state = context.store.state();
        if state.node(&node).is_none() {
            return Err(ApiError::Denied(format!("node {node} was removed from the cluster")));
        }
        if touched.is_none() || touched != state.node_touched(&node) {
            // Room first: what is sent is what holds when the agent can take it.
            let Ok(place) = sender.reserve().await else { return Ok(()) };
            let state = context.store.state();
            touched = state.node_touched(&node);
            if let Some(message) = chain.next(assign::assignments(&state, &node)) {
                place.send(Ok(v1::SessionResponse { message: Some(Down::Assignments(message)) }));
            }
        }
        tokio::select! {
            changed = changes.changed() => changed.map_err(|_| ApiError::ShuttingDown)?,
            () = sender.closed() => return Ok(()),
        }
        tokio::time::sleep(MERGE).await;
    }
}

/// The sets sent so far; each names the one it applies to.
struct Chain {
    serial: u64,
    count: u64,
    sent: Option<AssignmentSet>,
}

impl Chain {
    /// The message that brings the agent to `set`; none when it is there.
    fn next(&mut self, set: AssignmentSet) -> Option<v1::Assignments> {
        let id = |count: u64| format!("{}.{count}", self.serial);
        let (diff, applies_to) = match &self.sent {
            Some(sent) => {
                let diff = assign::diff(sent, &set);
                if diff.is_empty() {
                    // Kept nevertheless: the next difference is taken from the newest set.
                    self.sent = Some(set);
                    return None;
                }
                (diff, Some(id(self.count)))
            }
            None => {
                let update = set.tasks.values().cloned().collect();
                (AssignmentDiff { update, remove: Vec::new() }, None)
            }
        };
        let message = convert::assignments(&diff, applies_to, id(self.count + 1));
        self.count += 1;
        self.sent = Some(set);
        Some(message)
    }
}
