//! The composition root of the gRPC side: one TLS listener, one table of who may
//! call what, and the services behind it.

mod access;
mod forward;

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use controller_core::{Ids, NodeId, ServiceId};
use proto::v1::control_server::ControlServer;
use proto::v1::dispatch_server::DispatchServer;
use proto::v1::identity_server::IdentityServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Server;

use self::access::AccessLayer;
use self::forward::ForwardLayer;
use crate::api::ControlApi;
use crate::ca::{Ca, CaError, Role};
use crate::dispatch::DispatchApi;
use crate::error::ApiError;
use crate::identity::IdentityApi;
use crate::leader::LeaderHandle;
use crate::node_client::NodeClients;
use crate::store::Store;
use crate::tls::{self, Limits, OwnCertificate, Peer, TlsError};

/// How long open calls may take to end when the controller stops.
const GRACE: Duration = Duration::from_secs(2);
/// Calls at a time on one connection.
const STREAMS: u32 = 256;
/// The largest report of an agent, in bytes: 1,000 statuses with long errors.
const REPORT_MAX: usize = 16 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Why the server ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The administrator's bundle could not be written.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// HTTP/2 or the listener failed.
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// Ids for what people and agents ask for, shared by all calls. Its seed must
/// differ from that of the leader's own ids.
#[derive(Clone, Debug)]
pub struct SharedIds(Arc<Mutex<Ids>>);

impl SharedIds {
    /// Ids from a seed; equal seeds give equal ids.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Ids::new(seed))))
    }

    /// Ids from the system's random source.
    ///
    /// # Errors
    /// When it has none.
    pub fn random() -> Result<Self, ServerError> {
        let mut seed = [0; 8];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut seed).map_err(|_| ServerError::Random)?;
        Ok(Self::new(u64::from_le_bytes(seed)))
    }

    /// A new service id.
    #[must_use]
    pub fn service(&self) -> ServiceId {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).service()
    }

    /// A new node id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).node()
    }
}

/// What the server is made of.
#[derive(Clone, Debug)]
pub struct Services {
    /// State, and proposals to change it.
    pub store: Store,
    /// Where agents' heartbeats and reports go.
    pub leader: LeaderHandle,
    /// Issues certificates.
    pub ca: Ca,
    /// New ids.
    pub ids: SharedIds,
    /// Where the administrator's bundle is kept; `None` writes none.
    pub admin_dir: Option<PathBuf>,
    /// How much callers may hold open.
    pub limits: Limits,
}

/// What every call has at hand; clones are cheap.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) leader: LeaderHandle,
    pub(crate) ca: Ca,
    pub(crate) ids: SharedIds,
    pub(crate) nodes: NodeClients,
    pub(crate) closing: Closing,
}

/// Says to long calls that the controller stops.
#[derive(Clone, Debug)]
pub(crate) struct Closing(watch::Receiver<bool>);

impl Closing {
    /// Returns when the controller stops.
    pub(crate) async fn closed(&self) {
        // An error means that the server is gone already.
        let _ = self.0.clone().wait_for(|closing| *closing).await;
    }
}

/// The node that calls, if it still belongs to the cluster. Asked anew for each
/// call: a certificate outlives the node's removal.
pub(crate) fn known_node(context: &Context, extensions: &http::Extensions) -> Result<NodeId, ApiError> {
    let peer = extensions.get::<Peer>().and_then(|peer| peer.verified.as_deref());
    let name = peer.map(|peer| &peer.name).filter(|name| name.role == Role::Node);
    let name = name.ok_or_else(|| ApiError::Denied("only a node may call this".to_owned()))?;
    let id = name.id.parse().ok().filter(|id| context.store.state().node(id).is_some());
    id.ok_or_else(|| {
        ApiError::Denied(format!(
            "node {} is not in this cluster; it has to join again with a token",
            name.id
        ))
    })
}

/// Serves until `shutdown` resolves; then open calls are told, and what has not
/// ended two seconds later is cut off.
///
/// # Errors
/// When TLS cannot be set up, the administrator's bundle cannot be written, or
/// the transport fails.
pub async fn serve(
    listener: TcpListener,
    services: Services,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let Services { store, leader, ca, ids, admin_dir, limits } = services;
    let at = SystemTime::now();
    let own = OwnCertificate::issue(&ca, &store.status().id.to_string(), at)?;
    if let Some(dir) = &admin_dir {
        ca.ensure_admin_bundle(dir, at)?;
    }
    let nodes = NodeClients::new(tls::client_config(ca.root_der(), Arc::clone(&own))?, ca.cluster_id());
    let server_config = tls::server_config(ca.root_der(), Arc::clone(&own))?;
    let incoming = tls::incoming(listener, server_config, ca.cluster_id().to_owned(), limits);
    let (close, closing) = watch::channel(false);
    let renewal = tls::keep_fresh(own, ca.clone(), admin_dir);
    let forget = forget_removed_nodes(store.clone(), nodes.clone());
    let context = Context { store, leader, ca, ids, nodes, closing: Closing(closing.clone()) };
    let dispatch =
        DispatchServer::new(DispatchApi::new(context.clone())).max_decoding_message_size(REPORT_MAX);
    let server = Server::builder()
        .layer(AccessLayer)
        .layer(ForwardLayer(context.clone()))
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .add_service(ControlServer::new(ControlApi::new(context.clone())))
        .add_service(dispatch)
        .add_service(IdentityServer::new(IdentityApi::new(context)))
        .serve_with_incoming_shutdown(incoming, async move { Closing(closing).closed().await });
    let mut server = std::pin::pin!(server);
    tokio::select! {
        result = &mut server => return Ok(result?),
        () = shutdown => {}
        () = renewal => {}
        () = forget => {}
    }
    close.send_replace(true);
    match timeout(GRACE, server).await {
        Ok(result) => Ok(result?),
        Err(_) => {
            tracing::info!("some calls did not end in time and were cut off");
            Ok(())
        }
    }
}

/// Closes connections to nodes that have left the cluster.
async fn forget_removed_nodes(store: Store, nodes: NodeClients) {
    let mut every = tokio::time::interval(Duration::from_secs(60));
    loop {
        every.tick().await;
        let state = store.state();
        nodes.retain(|id| id.parse().is_ok_and(|id| state.node(&id).is_some()));
    }
}
