//! Nodes, as agents described them and as far as the cluster hears of them: read only.

use controller_core::{Node, State};
use proto::v1;

use crate::convert;
use crate::error::ApiError;
use crate::server::Context;

pub(super) fn list(context: &Context) -> v1::ListNodesResponse {
    let state = context.store.state();
    let mut nodes: Vec<_> = state.nodes().map(|node| convert::node(&state, node)).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    v1::ListNodesResponse { nodes }
}

/// A node by name or id.
pub(super) fn find<'a>(state: &'a State, name: &str) -> Result<&'a Node, ApiError> {
    let by_id = || name.parse().ok().and_then(|id| state.node(&id));
    let node = state.node_by_name(name).or_else(by_id);
    node.map(AsRef::as_ref).ok_or_else(|| ApiError::not_found("node", name))
}
