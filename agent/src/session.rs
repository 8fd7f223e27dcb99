//! The session with the controller: one stream over mutual TLS. Up go who this
//! node is, heartbeats and the states of its tasks; down come assignments. When
//! it breaks, it is begun again after a pause that grows; the containers never
//! notice.

pub mod backoff;
pub mod host;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::identity::Identity;
use crate::report::Reports;
use crate::task::supervisor::Handle;
use backoff::Backoff;

/// What the rest of the agent may know about the session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Empty while this node is in no cluster.
    pub node_id: String,
    /// As the controller calls it; until then as it was asked to.
    pub node_name: String,
    /// Whether a controller is connected now.
    pub connected: bool,
}

/// Who this node says it is.
#[derive(Debug, Clone)]
pub struct Node {
    /// The name wished for.
    pub name: String,
    /// `host:port` of the Node API as others reach it; the host may be missing
    /// (`:port`), then it is the address that leads to the controller.
    pub address: String,
    /// Labels for placement.
    pub labels: BTreeMap<String, String>,
}

/// All that a session needs.
#[derive(Debug)]
pub struct Session {
    /// The certificate that is current when a connection is made.
    pub identity: watch::Receiver<Arc<Identity>>,
    /// This node.
    pub node: Node,
    /// Where assignments go.
    pub tasks: Handle,
    /// Where statuses come from.
    pub reports: Reports,
    /// Told what becomes of the session.
    pub link: watch::Sender<Link>,
    /// Ends it.
    pub stop: CancellationToken,
}

impl Session {
    /// Keeps up a session until told to stop.
    pub async fn run(self) {
        let mut backoff = Backoff::new();
        loop {
            let ended = tokio::select! {
                ended = stream::hold(&self) => ended,
                () = self.stop.cancelled() => return,
            };
            if self.link.borrow().connected {
                self.link.send_modify(|link| link.connected = false);
                backoff.reset();
            }
            let pause = backoff.pause();
            let milliseconds = pause.as_millis();
            match ended {
                Ok(()) => info!("the controller ended the session; again in {milliseconds} ms"),
                Err(error) => warn!("no session with the controller ({error}); again in {milliseconds} ms"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
