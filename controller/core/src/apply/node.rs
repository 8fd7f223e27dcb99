//! Nodes: admitted by a token, described by their agents.

use crate::{
    event::Event,
    ids::NodeId,
    object::{Node, NodeDescription, NodeStatus},
    refusal::Refusal,
    state::State,
    time::Timestamp,
};

/// The most bytes of a node's name; it is also a host name.
const LONGEST_NAME: usize = 63;

pub(super) fn admit(
    state: &mut State,
    id: NodeId,
    wished: &str,
    token_hash: &str,
    at: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    if state.token(token_hash).is_none_or(|token| token.expires <= at) {
        return Err(Refusal::TokenUnknown);
    }
    if state.node(&id).is_some() {
        return Err(Refusal::Exists { object: format!("node {id}") });
    }
    let name = unique_name(state, wished);
    state.begin();
    state.put_node(Node {
        id,
        version: 0,
        name: name.clone(),
        status: NodeStatus::Unknown,
        status_message: "has not connected yet".into(),
        status_since: at,
        description: NodeDescription::default(),
        joined_at: at,
    });
    Ok(vec![Event::NodeAdmitted { node: id, name }])
}

/// `wished`, reduced to what a host name may hold, with "-2", "-3" ... when it is taken.
fn unique_name(state: &State, wished: &str) -> String {
    let keep = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c.to_ascii_lowercase() } else { '-' }
    };
    let mut name: String = wished.chars().map(keep).take(LONGEST_NAME - 6).collect();
    if name.trim_matches(['-', '.']).is_empty() {
        name = "node".into();
    }
    let mut unique = name.clone();
    let mut number = 1_u64;
    while state.node_by_name(&unique).is_some() {
        number += 1;
        unique = format!("{name}-{number}");
    }
    unique
}

pub(super) fn register(
    state: &mut State,
    id: NodeId,
    description: &NodeDescription,
    at: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let Some(node) = state.node(&id) else { return Err(Refusal::NotAdmitted { node: id }) };
    let mut node = Node::clone(node);
    if node.is_ready() && node.description == *description {
        return Ok(Vec::new());
    }
    state.begin();
    let mut events = vec![Event::NodeRegistered(id)];
    node.description = description.clone();
    if !node.is_ready() {
        events.push(set_status(state, node, NodeStatus::Ready, String::new(), at));
    } else {
        state.put_node(node);
    }
    Ok(events)
}

/// Writes the node with its new status, and marks everything that has to look at its tasks again.
pub(super) fn set_status(
    state: &mut State,
    mut node: Node,
    status: NodeStatus,
    message: String,
    at: Timestamp,
) -> Event {
    let id = node.id;
    node.status = status;
    node.status_message = message;
    node.status_since = at;
    state.put_node(node);
    let services: Vec<_> = state.tasks_on_node(&id).map(|task| task.service).collect();
    for service in services {
        state.index.touch_service(service, state.version);
    }
    Event::NodeChanged { node: id, status }
}
