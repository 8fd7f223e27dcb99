//! The cluster itself and its join tokens.

use std::sync::Arc;

use crate::{
    event::Event,
    ids::ClusterId,
    object::{Cluster, Role, Token},
    refusal::Refusal,
    state::State,
    time::Timestamp,
};

pub(super) fn bootstrap(
    state: &mut State,
    id: ClusterId,
    root_der: &[u8],
    at: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    if let Some(cluster) = state.cluster() {
        return Err(Refusal::Exists { object: format!("cluster {}", cluster.id) });
    }
    state.begin();
    state.cluster = Some(Arc::new(Cluster { id, root_der: root_der.to_vec(), created_at: at }));
    Ok(vec![Event::ClusterMade(id)])
}

pub(super) fn create_token(
    state: &mut State,
    hash: &str,
    role: Role,
    expires: Timestamp,
    at: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    if state.token(hash).is_some() {
        return Err(Refusal::Exists { object: "this join token".into() });
    }
    state.begin();
    let expired: Vec<String> =
        state.tokens.values().filter(|t| t.expires <= at).map(|t| t.hash.clone()).collect();
    for hash in &expired {
        state.tokens.remove_mut(hash);
    }
    let token = Token { hash: hash.to_owned(), role, expires, created_at: at };
    state.tokens.insert_mut(hash.to_owned(), Arc::new(token));
    Ok(vec![Event::TokenCreated])
}
