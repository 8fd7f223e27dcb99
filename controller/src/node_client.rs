//! Dialling agents: one lazily opened HTTP/2 connection per node, over TLS with
//! the controller's own certificate, to the address the node registered.
//!
//! A connection is only used when the certificate at the other end names the
//! very node that was meant: an address alone proves nothing, and every node
//! holds a certificate for the same DNS name. After a failure the node is left
//! alone for a while that doubles from 100 ms to 8 s, and callers meanwhile get
//! the reason at once.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::v1::node_control_client::NodeControlClient;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::ca::Role;
use crate::tls::VerifiedPeer;

const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(8);
/// TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Why a node could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The node told no usable address.
    #[error("node {node} has no usable address: {address:?} is not host:port")]
    Address {
        /// Its name.
        node: String,
        /// What it registered.
        address: String,
    },
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Node id, as its certificate says it.
    pub id: String,
    /// Its name, for messages.
    pub name: String,
    /// host:port of its Node API.
    pub address: String,
}

impl Destination {
    /// Where this node is.
    #[must_use]
    pub fn of(node: &controller_core::Node) -> Self {
        let address = node.description.address.clone();
        Self { id: node.id.to_string(), name: node.name.clone(), address }
    }
}

#[derive(Debug)]
struct Pooled {
    address: String,
    channel: Channel,
}

#[derive(Debug)]
struct Shared {
    tls: Arc<ClientConfig>,
    cluster_id: String,
    pool: Mutex<BTreeMap<String, Pooled>>,
}

/// The pool of connections; clones share it.
#[derive(Clone, Debug)]
pub struct NodeClients(Arc<Shared>);

impl NodeClients {
    /// An empty pool.
    #[must_use]
    pub fn new(tls: Arc<ClientConfig>, cluster_id: &str) -> Self {
        Self(Arc::new(Shared { tls, cluster_id: cluster_id.to_owned(), pool: Mutex::default() }))
    }

    /// A client of a node's API. Connects with the first call.
    ///
    /// # Errors
    /// When the node has no usable address.
    pub fn node(&self, node: &Destination) -> Result<NodeControlClient<Channel>, DialError> {
        self.channel(node).map(NodeControlClient::new)
    }

    /// The connection to a node, for any of its services.
    ///
    /// # Errors
    /// When the node has no usable address.
    pub fn channel(&self, node: &Destination) -> Result<Channel, DialError> {
        let mut pool = self.pool();
        if let Some(pooled) = pool.get(&node.id)
            && pooled.address == node.address
        {
            return Ok(pooled.channel.clone());
        }
        let channel = self.dial_lazily(node)?;
        let pooled = Pooled { address: node.address.clone(), channel: channel.clone() };
        pool.insert(node.id.clone(), pooled);
        Ok(channel)
    }

    /// Closes connections to nodes that are not in the cluster any more.
    pub fn retain(&self, mut wanted: impl FnMut(&str) -> bool) {
        self.pool().retain(|id, _| wanted(id));
    }

    fn dial_lazily(&self, node: &Destination) -> Result<Channel, DialError> {
        let refuse = || DialError::Address { node: node.name.clone(), address: node.address.clone() };
        if node.address.rsplit_once(':').is_none_or(|(host, _)| host.is_empty()) {
            return Err(refuse());
        }
        // The scheme only keeps tonic from wrapping TLS of its own around ours.
        let endpoint = Endpoint::from_shared(format!("http://{}", node.address)).map_err(|_| refuse())?;
        let dialler = Arc::new(Dialler {
            tls: TlsConnector::from(Arc::clone(&self.0.tls)),
            cluster_id: self.0.cluster_id.clone(),
            node: node.clone(),
            back_off: Mutex::new(BackOff { wait: FIRST_BACK_OFF, until: None }),
        });
        let connector = tower::service_fn(move |_: http::Uri| {
            let dialler = Arc::clone(&dialler);
            async move { dialler.dial().await.map(TokioIo::new) }
        });
        Ok(endpoint
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connector))
    }

    fn pool(&self) -> MutexGuard<'_, BTreeMap<String, Pooled>> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct BackOff {
    wait: Duration,
    until: Option<(Instant, String)>,
}

struct Dialler {
    tls: TlsConnector,
    cluster_id: String,
    node: Destination,
    back_off: Mutex<BackOff>,
}

impl Dialler {
    async fn dial(&self) -> io::Result<TlsStream<TcpStream>> {
        if let Some((until, why)) = &self.back_off().until
            && Instant::now() < *until
        {
            return Err(io::Error::other(why.clone()));
        }
        let result = match timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let mut back_off = self.back_off();
        match result {
            Ok(stream) => {
                *back_off = BackOff { wait: FIRST_BACK_OFF, until: None };
                Ok(stream)
            }
            Err(error) => {
                let why =
                    format!("node {} at {} can't be reached: {error}", self.node.name, self.node.address);
                back_off.until = Some((Instant::now() + back_off.wait, why.clone()));
                back_off.wait = (back_off.wait * 2).min(LONGEST_BACK_OFF);
                Err(io::Error::other(why))
            }
        }
    }

    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(&self.node.address).await?;
        tcp.set_nodelay(true)?;
        let name = Role::Node.dns_name().and_then(|name| ServerName::try_from(name).ok());
        let name = name.ok_or_else(|| io::Error::other("nodes have no DNS name"))?;
        let tls = self.tls.connect(name, tcp).await?;
        let leaf = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let leaf = leaf.ok_or_else(|| io::Error::other("it showed no certificate"))?;
        let peer = VerifiedPeer::from_leaf(leaf, &self.cluster_id).map_err(io::Error::other)?;
        if peer.name.role != Role::Node || peer.name.id != self.node.id {
            return Err(io::Error::other(format!("{} answers there", peer.name)));
        }
        Ok(tls)
    }

    fn back_off(&self) -> MutexGuard<'_, BackOff> {
        self.back_off.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
