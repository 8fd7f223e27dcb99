//! TLS connections to controllers, and gRPC channels over them. One channel is
//! one connection: who loses it dials again with what the identity is then.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

/// The name in every controller's certificate, whatever its address is.
pub const CONTROLLER_NAME: &str = "controller.roadstead";

/// Time for connecting and the handshake, each.
const PATIENCE: Duration = Duration::from_secs(5);

/// The cryptography that everything here uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody answers at the address.
    #[error("cannot reach the controller at {address}: {source}")]
    Unreachable {
        /// `host:port`
        address: String,
        /// The kernel's word.
        source: io::Error,
    },
    /// Somebody answers who is not a controller of the cluster.
    #[error("the server at {address} is not trusted: {reason}")]
    Untrusted {
        /// `host:port`
        address: String,
        /// What is wrong with its certificate.
        reason: String,
    },
}

/// Connects and shakes hands.
///
/// # Errors
/// When nobody answers, or the server's certificate does not verify.
pub async fn dial(address: &str, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, DialError> {
    let unreachable = |source| DialError::Unreachable { address: address.to_owned(), source };
    let stream = within(TcpStream::connect(address)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let name = ServerName::try_from(CONTROLLER_NAME)
        .map_err(|error| unreachable(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let handshake = TlsConnector::from(config).connect(name, stream);
    within(handshake).await.map_err(|error| match certificate_fault(&error) {
        Some(reason) => DialError::Untrusted { address: address.to_owned(), reason },
        None => unreachable(error),
    })
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs())))
    })
}

fn certificate_fault(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            Some(other.0.to_string())
        }
        rustls::Error::InvalidCertificate(fault) => Some(fault.to_string()),
        rustls::Error::NoCertificatesPresented => Some("it shows no certificate".to_owned()),
        _ => None,
    }
}

/// gRPC over `stream`; when the stream is gone every call fails.
///
/// # Errors
/// When the HTTP/2 handshake fails.
pub async fn channel(stream: TlsStream<TcpStream>) -> Result<Channel, tonic::transport::Error> {
    let stream = Mutex::new(Some(stream));
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(match stream {
            Some(stream) => Ok(TokioIo::new(stream)),
            None => {
                Err(io::Error::new(io::ErrorKind::NotConnected, "the connection to the controller is gone"))
            }
        })
    });
    // Plain "http": the stream is encrypted already, tonic need not know.
    Endpoint::from_static("http://controller.roadstead")
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
}
