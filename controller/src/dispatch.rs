//! The Dispatch service: the sessions of agents. Plumbing only: what a node is
//! to run, and what changed of it, are functions of the core.
//!
//! ```text
//!  agent ── Register ─────────────►  known to the State? a description that differs is proposed
//!        ◄─ Welcome ──────────────   then Input::Connected
//!        ◄─ Assignments, complete ─
//!        ── Heartbeat, Report ────►  inbound: checked, then Input::{Heartbeat, Report}
//!        ◄─ Assignments, chained ──  outbound: after each change of the node, merged for 20 ms
//! ```
//!
//! One task per session. It ends when either direction ends, when a newer
//! session of the same node begins, when the node leaves the cluster, when this
//! controller stops leading, or when it stops.

mod inbound;
mod outbound;
mod registry;
mod session;

use std::sync::Arc;

use proto::v1::{self, dispatch_server::Dispatch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use self::registry::Sessions;
use crate::server::{Context, known_node};

/// Serves the Dispatch service.
#[derive(Clone, Debug)]
pub(crate) struct DispatchApi {
    context: Context,
    sessions: Arc<Sessions>,
}

impl DispatchApi {
    /// Serves from these parts.
    pub(crate) fn new(context: Context) -> Self {
        Self { context, sessions: Arc::default() }
    }
}

#[tonic::async_trait]
impl Dispatch for DispatchApi {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = known_node(&self.context, request.extensions())?;
        let answers = session::open(&self.context, &self.sessions, node, request.into_inner())?;
        Ok(Response::new(answers))
    }
}
