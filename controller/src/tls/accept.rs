//! Accepting connections: one task accepts, each handshake has its own, and
//! finished ones go to tonic through a bounded queue.
//!
//! Limits, so that strangers cannot use the server up: so many handshakes at a
//! time, each within 10 s; so many connections at a time; and connections
//! without a client certificate are few and short, for they may only join.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::{Peer, TlsError, VerifiedPeer};

/// How much strangers and members may hold open.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Handshakes at a time.
    pub handshakes: usize,
    /// The longest handshake.
    pub handshake_timeout: Duration,
    /// Connections at a time, handshakes included.
    pub connections: usize,
    /// Connections at a time that showed no certificate.
    pub anonymous: usize,
    /// How long one of those may last.
    pub anonymous_life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
            connections: 8192,
            anonymous: 256,
            anonymous_life: Duration::from_secs(30),
        }
    }
}

/// The stream of accepted connections; the listener closes when it is dropped.
pub type Incoming = ReceiverStream<Result<Connection, io::Error>>;

struct Acceptor {
    tls: TlsAcceptor,
    cluster_id: String,
    limits: Limits,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    anonymous: Arc<Semaphore>,
}

/// Accepts TLS connections of members of a cluster.
pub(crate) fn incoming(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    cluster_id: String,
    limits: Limits,
) -> Incoming {
    let acceptor = Arc::new(Acceptor {
        tls: TlsAcceptor::from(config),
        cluster_id,
        limits,
        handshakes: Arc::new(Semaphore::new(limits.handshakes)),
        connections: Arc::new(Semaphore::new(limits.connections)),
        anonymous: Arc::new(Semaphore::new(limits.anonymous)),
    });
    let (accepted, queue) = mpsc::channel(64);
    tokio::spawn(async move {
        tokio::select! {
            () = accept(&listener, &acceptor, &accepted) => {}
            () = accepted.closed() => {}
        }
    });
    ReceiverStream::new(queue)
}

async fn accept(
    listener: &TcpListener,
    acceptor: &Arc<Acceptor>,
    accepted: &mpsc::Sender<Result<Connection, io::Error>>,
) {
    loop {
        // Waiting here leaves callers in the kernel's queue, which is bounded too.
        let Ok(slot) = Arc::clone(&acceptor.connections).acquire_owned().await else { return };
        let Ok(handshake) = Arc::clone(&acceptor.handshakes).acquire_owned().await else { return };
        let (tcp, address) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                // Out of descriptors, most likely: some will close.
                tracing::warn!(%error, "could not accept a connection");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (acceptor, accepted) = (Arc::clone(acceptor), accepted.clone());
        tokio::spawn(async move {
            let result = timeout(acceptor.limits.handshake_timeout, acceptor.handshake(tcp, address)).await;
            drop(handshake);
            match result {
                Ok(Ok((tls, peer, anonymous))) => {
                    let connection = Connection::new(tls, peer, slot, anonymous, acceptor.limits);
                    // Fails only when the server is going away.
                    let _ = accepted.send(Ok(connection)).await;
                }
                Ok(Err(error)) => tracing::debug!(%address, %error, "handshake failed"),
                Err(_) => tracing::debug!(%address, "handshake took too long"),
            }
        });
    }
}

type Handshaken = (TlsStream<TcpStream>, Peer, Option<OwnedSemaphorePermit>);

impl Acceptor {
    async fn handshake(&self, tcp: TcpStream, address: SocketAddr) -> io::Result<Handshaken> {
        // Without this each small message waits for Nagle: 25 ms a call.
        tcp.set_nodelay(true)?;
        let tls = self.tls.accept(tcp).await?;
        let leaf = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let Some(leaf) = leaf else {
            let Ok(permit) = Arc::clone(&self.anonymous).try_acquire_owned() else {
                return Err(io::Error::other("too many connections without a client certificate"));
            };
            return Ok((tls, Peer { address, verified: None }, Some(permit)));
        };
        let verified = VerifiedPeer::from_leaf(leaf, &self.cluster_id)
            .map_err(|why| io::Error::other(TlsError::Nameless { address: address.to_string(), why }))?;
        Ok((tls, Peer { address, verified: Some(Arc::new(verified)) }, None))
    }
}

/// One accepted connection, counted until it is dropped.
#[derive(Debug)]
pub struct Connection {
    tls: TlsStream<TcpStream>,
    peer: Peer,
    /// Ends a connection without a certificate.
    deadline: Option<Pin<Box<Sleep>>>,
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl Connection {
    fn new(
        tls: TlsStream<TcpStream>,
        peer: Peer,
        slot: OwnedSemaphorePermit,
        anonymous: Option<OwnedSemaphorePermit>,
        limits: Limits,
    ) -> Self {
        let deadline = anonymous.is_some().then(|| Box::pin(sleep(limits.anonymous_life)));
        Self { tls, peer, deadline, _permits: (slot, anonymous) }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}
