//! Which nodes are alive, as far as the leader heard: kept in its memory only, never in the log.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    control::{FIRST_LEASE, LEASE},
    ids::NodeId,
    object::NodeStatus,
    state::State,
    time::Timestamp,
};

/// When the lease of each node ends.
#[derive(Debug, Default)]
pub(super) struct Leases {
    ends: BTreeMap<NodeId, Timestamp>,
    order: BTreeSet<(Timestamp, NodeId)>,
    heard: BTreeSet<NodeId>,
}

impl Leases {
    /// A new leader, or one that was away, gives every node that was up time to find it.
    pub(super) fn begin(&mut self, state: &State, now: Timestamp) {
        *self = Self::default();
        for node in state.nodes().filter(|node| node.is_ready()) {
            self.extend(node.id, now.plus(FIRST_LEASE));
        }
    }

    /// A node was heard of. One that is not admitted gets no lease.
    pub(super) fn renew(&mut self, state: &State, id: NodeId, now: Timestamp) {
        if let Some(node) = state.node(&id) {
            self.extend(id, now.plus(LEASE));
            if node.status == NodeStatus::Down {
                self.heard.insert(id);
            }
        }
    }

    /// A node that the State says is up, but that has no lease yet, registered a moment ago.
    pub(super) fn adopt(&mut self, state: &State, id: NodeId, now: Timestamp) {
        if !self.ends.contains_key(&id) && state.node(&id).is_some_and(|node| node.is_ready()) {
            self.extend(id, now.plus(LEASE));
        }
    }

    /// Nodes that are up in the State and whose lease has ended. A node that is down loses its lease here.
    pub(super) fn ended(&mut self, state: &State, now: Timestamp) -> Vec<NodeId> {
        let past: Vec<_> = self.order.range(..=(now, NodeId::MAX)).copied().collect();
        let mut ended = Vec::new();
        for (end, id) in past {
            if state.node(&id).is_some_and(|node| node.is_ready()) {
                ended.push(id);
            } else {
                self.order.remove(&(end, id));
                self.ends.remove(&id);
            }
        }
        ended
    }

    /// Nodes that were heard of lately and are down in the State.
    pub(super) fn heard(&mut self, state: &State, now: Timestamp) -> Vec<NodeId> {
        let ends = &self.ends;
        self.heard.retain(|id| {
            let alive = ends.get(id).is_some_and(|end| *end > now);
            alive && state.node(id).is_some_and(|node| node.status == NodeStatus::Down)
        });
        self.heard.iter().copied().collect()
    }

    /// Never shortens a lease: the first one under a new leader is longer than the others.
    fn extend(&mut self, id: NodeId, end: Timestamp) {
        if let Some(known) = self.ends.get(&id).copied() {
            if known >= end {
                return;
            }
            self.order.remove(&(known, id));
        }
        self.ends.insert(id, end);
        self.order.insert((end, id));
    }
}
