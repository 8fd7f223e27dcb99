//! Where the Node API is reached: a unix socket for the administrator of the
//! host, and TLS 1.3 for controllers and administrators of the cluster, whose
//! client certificate says which of the two they are.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proto::v1::container_files_server::ContainerFilesServer;
use proto::v1::events_server::EventsServer;
use proto::v1::exec_server::ExecServer;
use proto::v1::images_server::ImagesServer;
use proto::v1::node_control_server::NodeControlServer;
use proto::v1::registries_server::RegistriesServer;
use proto::v1::volumes_server::VolumesServer;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::Server;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Request, Status};
use tracing::{debug, info, warn};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::api::Api;
use crate::identity::Identity;

/// Handshakes under way; a flood of half-open connections waits beyond it.
const HANDSHAKES: usize = 64;
/// The time for one handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Why the API is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The unix socket could not be made.
    #[error("cannot listen on {path}: {source}", path = path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Serving ended with an error.
    #[error("the node's API: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// Makes the socket, in place of one that a killed agent left and nobody answers on.
///
/// # Errors
/// When it cannot be made there.
pub fn bind_unix(path: &Path) -> Result<UnixListener, ServerError> {
    let failed = |source| ServerError::Socket { path: path.to_owned(), source };
    make_way(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

/// Sees to it that a socket can be made there. The path may be anybody's, Docker's own
/// socket for instance, so only a dead socket is removed.
///
/// # Errors
/// When it cannot be made there.
pub fn make_way(path: &Path) -> Result<(), ServerError> {
    let failed = |source| ServerError::Socket { path: path.to_owned(), source };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::read_dir(parent).map_err(failed)?;
    }
    remove_dead(path).map_err(failed)
}

fn remove_dead(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "what is there is no socket"));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another program answers there"));
    }
    fs::remove_file(path)
}

/// All services of a node.
pub fn services(api: &Api) -> Routes {
    Routes::new(NodeControlServer::new(api.clone()))
        .add_service(EventsServer::new(api.clone()))
        .add_service(ExecServer::new(api.clone()))
        .add_service(ContainerFilesServer::new(api.clone()))
        .add_service(RegistriesServer::new(api.clone()))
        .add_service(VolumesServer::new(api.clone()))
        .add_service(ImagesServer::new(api.clone()))
}

/// Serves whoever may open the socket, until `stop`.
///
/// # Errors
/// When serving fails.
pub async fn serve_unix(
    listener: UnixListener,
    services: Routes,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    Server::builder()
        .add_routes(services)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned())
        .await?;
    Ok(())
}

/// Serves controllers and administrators of the cluster, until `stop`.
///
/// # Errors
/// When serving fails.
pub async fn serve_tls(
    listener: TcpListener,
    services: Routes,
    identity: watch::Receiver<Arc<Identity>>,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let cluster = identity.borrow().cluster_id.clone();
    let admission = InterceptorLayer::new(move |request| admit(request, &cluster));
    let (accepted, incoming) = mpsc::channel(16);
    tokio::spawn(accept(listener, identity, accepted, stop.clone()));
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .layer(admission)
        .add_routes(services)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop.cancelled_owned())
        .await?;
    Ok(())
}

type Accepted = mpsc::Sender<io::Result<TlsStream<TcpStream>>>;

async fn accept(
    listener: TcpListener,
    identity: watch::Receiver<Arc<Identity>>,
    accepted: Accepted,
    stop: CancellationToken,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(place) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            () = stop.cancelled() => return,
        };
        let (stream, peer) = match connection {
            Ok(connection) => connection,
            Err(error) => {
                warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // The identity of this moment: a renewed certificate is shown from the next connection on.
        let config = match identity.borrow().server_config() {
            Ok(config) => config,
            Err(error) => {
                warn!(%error, "the node's certificate cannot be shown");
                continue;
            }
        };
        let accepted = accepted.clone();
        tokio::spawn(async move {
            match shake_hands(stream, TlsAcceptor::from(config)).await {
                Ok(stream) => drop(accepted.send(Ok(stream)).await),
                Err(error) => debug!(%peer, %error, "no TLS handshake"),
            }
            drop(place);
        });
    }
}

async fn shake_hands(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await?
}

/// Lets controllers and the cluster's users in, and no other node.
fn admit(request: Request<()>, cluster: &str) -> Result<Request<()>, Status> {
    let peer =
        request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>().and_then(TlsConnectInfo::peer_certs);
    let leaf = peer.as_deref().and_then(|chain| chain.first()).map(AsRef::as_ref);
    match leaf.and_then(|leaf| role(leaf, cluster)).as_deref() {
        Some("controller" | "user") => Ok(request),
        Some(role) => {
            info!(role, "refused a caller");
            Err(Status::permission_denied("only controllers and administrators may call a node's API"))
        }
        None => Err(Status::unauthenticated("the client certificate names no role in this cluster")),
    }
}

/// The role in the certificate's URI `spiffe://<cluster>/<role>/<id>`.
fn role(certificate: &[u8], cluster: &str) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| {
        let GeneralName::URI(uri) = name else { return None };
        let path = uri.strip_prefix("spiffe://")?.strip_prefix(cluster)?.strip_prefix('/')?;
        path.split_once('/').map(|(role, _)| role.to_owned())
    })
}

#[cfg(test)]
mod tests;
