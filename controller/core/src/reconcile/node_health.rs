//! Nodes whose lease ended go down, nodes that are heard of again come up, and tasks of a node that stays down
//! for a day are given up.

use std::time::Duration;

use crate::{
    command::Change, control::LEASE, ids::NodeId, object::NodeStatus, state::State, time::Timestamp,
};

/// After this long down, what ran on a node counts as gone.
pub const ORPHAN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What follows from the leases: `ended` nodes have not been heard of in time, `heard` ones have.
#[must_use]
pub fn plan(state: &State, ended: &[NodeId], heard: &[NodeId]) -> Vec<Change> {
    let is_ready = |id: &NodeId| state.node(id).map(|node| node.is_ready());
    let down = ended.iter().filter(|id| is_ready(id) == Some(true)).map(|id| Change::Node {
        node: *id,
        status: NodeStatus::Down,
        message: format!("no heartbeat for {} s", LEASE.as_secs()),
    });
    // A node that was admitted and never registered has no description yet: nothing can be placed there.
    let up = heard
        .iter()
        .filter(|id| state.node(id).is_some_and(|node| node.status == NodeStatus::Down))
        .map(|id| Change::Node { node: *id, status: NodeStatus::Ready, message: String::new() });
    down.chain(up).collect()
}

/// When the tasks of a node are given up, if it is down.
#[must_use]
pub fn orphans_due(state: &State, node: &NodeId) -> Option<Timestamp> {
    let node = state.node(node).filter(|node| node.status == NodeStatus::Down)?;
    Some(node.status_since.plus(ORPHAN_AFTER))
}

/// Gives up what is unfinished on a node.
#[must_use]
pub fn orphan(state: &State, node: &NodeId) -> Vec<Change> {
    let unfinished = state.tasks_on_node(node).filter(|task| !task.state.is_finished());
    unfinished.map(|task| Change::Orphan { task: task.id }).collect()
}
