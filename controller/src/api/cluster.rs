//! The cluster as a whole: which one it is, who leads it, and how large it is.

use proto::v1;

use crate::server::Context;

pub(super) fn get(context: &Context) -> v1::GetClusterResponse {
    let (state, raft) = (context.store.state(), context.store.status());
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    v1::GetClusterResponse {
        id: context.ca.cluster_id().to_owned(),
        controller_id: raft.id.to_string(),
        leader_id: raft.leader.map(|id| id.to_string()).unwrap_or_default(),
        applied_index: raft.applied,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nodes_ready: count(state.nodes().filter(|node| node.is_ready()).count()),
        nodes: count(state.nodes().count()),
        services: count(state.services().count()),
    }
}
