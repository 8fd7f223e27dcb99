//! What an agent does only in a cluster: it joins once, then keeps up the
//! session, renews its certificate and serves its API to controllers. The engine
//! and the unix socket never wait for any of this.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::Api;
use crate::config::Config;
use crate::daemon::Failure;
use crate::identity::store::Store;
use crate::identity::{Identity, join, renew};
use crate::report::Reports;
use crate::server;
use crate::session::backoff::Backoff;
use crate::session::{Link, Node, Session};
use crate::task::supervisor::Handle;

/// The part of the agent that is there only in a cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The command line.
    pub config: Config,
    /// Where the identity is kept.
    pub store: Store,
    /// This node as it introduces itself.
    pub node: Node,
    /// Where assignments go.
    pub tasks: Handle,
    /// Where statuses come from.
    pub reports: Reports,
    /// Told what becomes of the session.
    pub link: watch::Sender<Link>,
    /// Served over TLS.
    pub api: Api,
    /// Ends all of it.
    pub stop: CancellationToken,
}

impl Cluster {
    /// Joins if need be, then keeps up session, certificate and TLS API.
    ///
    /// # Errors
    /// The cluster does not want this node, or the API cannot be served.
    pub async fn run(
        self,
        known: Option<Identity>,
        listener: Option<std::net::TcpListener>,
    ) -> Result<(), Failure> {
        let Some(identity) = self.identify(known).await? else { return Ok(()) };
        self.link.send_modify(|link| link.node_id.clone_from(&identity.node_id));
        let (identity, current) = watch::channel(Arc::new(identity));
        let session = Session {
            identity: current.clone(),
            node: self.node,
            tasks: self.tasks,
            reports: self.reports,
            link: self.link,
            stop: self.stop.clone(),
        };
        let renewal = renew::run(identity, self.store, self.stop.clone());
        let serving = async {
            let Some(listener) = listener else { return Ok(()) };
            let listener = TcpListener::from_std(listener)
                .map_err(|error| Failure::System("cannot listen for controllers", error))?;
            Ok(server::serve_tls(listener, server::services(&self.api), current, self.stop.clone()).await?)
        };
        let (served, (), ()) = tokio::join!(serving, session.run(), renewal);
        served
    }

    /// The known identity, or a new one; none if there is no cluster to join or
    /// the agent ends before that succeeds.
    async fn identify(&self, known: Option<Identity>) -> Result<Option<Identity>, Failure> {
        if known.is_some() {
            return Ok(known);
        }
        let (Some(address), Some(token)) = (&self.config.join, &self.config.token) else { return Ok(None) };
        let mut backoff = Backoff::new();
        loop {
            let error = match join::join(address, token, &self.node.name).await {
                Ok(identity) => {
                    self.store.save(&identity)?;
                    info!(node = identity.node_id, cluster = identity.cluster_id, "joined");
                    return Ok(Some(identity));
                }
                Err(error) if error.is_passing() => error,
                Err(error) => return Err(error.into()),
            };
            let pause = backoff.pause();
            warn!("not joined yet ({error}); again in {} ms", pause.as_millis());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return Ok(None),
            }
        }
    }
}
