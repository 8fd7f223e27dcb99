//! Who is let in over TLS, with a service that answers everybody. The API itself
//! is tested against an engine.

use proto::v1::identity_client::IdentityClient;
use proto::v1::identity_server::{Identity as IdentityService, IdentityServer};
use proto::v1::{IssueRequest, IssueResponse, RenewRequest, RenewResponse};
use rustls::pki_types::ServerName;
use tonic::{Code, Response};

use super::*;
use crate::identity::testing::{Authority, CLUSTER};
use crate::tls;

struct Open;

#[tonic::async_trait]
impl IdentityService for Open {
    async fn issue(&self, _: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
        Ok(Response::new(IssueResponse::default()))
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        Ok(Response::new(RenewResponse::default()))
    }
}

/// Serves as node "n1"; answers the address.
async fn serve(authority: &Authority, stop: &CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (_, identity) = watch::channel(Arc::new(authority.node("n1", "")));
    tokio::spawn(serve_tls(listener, Routes::new(IdentityServer::new(Open)), identity, stop.clone()));
    address
}

/// Calls with the certificate of `identity`, expecting a node.
async fn call(address: &str, identity: &Identity) -> Result<(), Code> {
    let connector = tokio_rustls::TlsConnector::from(identity.client_config().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("node.roadstead").unwrap();
    let stream = connector.connect(name, stream).await.map_err(|_| Code::Unknown)?;
    let channel = tls::channel(stream).await.map_err(|_| Code::Unknown)?;
    let answer = IdentityClient::new(channel).issue(IssueRequest::default()).await;
    answer.map(drop).map_err(|status| status.code())
}

#[tokio::test]
async fn controllers_and_administrators_are_let_in_and_nobody_else() {
    let stop = CancellationToken::new();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let address = serve(&ours, &stop).await;
    assert_eq!(call(&address, &ours.identity("controller", "1", "")).await, Ok(()));
    assert_eq!(call(&address, &ours.identity("user", "admin", "")).await, Ok(()));
    assert_eq!(call(&address, &ours.identity("node", "n2", "")).await, Err(Code::PermissionDenied));
    // Another cluster's controller does not even get through the handshake.
    let stranger = theirs.identity("controller", "1", "");
    assert_eq!(call(&address, &stranger).await, Err(Code::Unknown));
    stop.cancel();
}

fn role_of(authority: &Authority, role_name: &str, cluster: &str) -> Option<String> {
    let (chain, _) = authority.issue(role_name, "x");
    role(chain[0].as_ref(), cluster)
}

#[test]
fn the_role_is_read_from_the_certificate_of_this_cluster_only() {
    let authority = Authority::new();
    assert_eq!(role_of(&authority, "controller", CLUSTER).as_deref(), Some("controller"));
    assert_eq!(role_of(&authority, "node", CLUSTER).as_deref(), Some("node"));
    assert_eq!(role_of(&authority, "controller", "c"), None, "a prefix of the cluster's id");
    assert_eq!(role_of(&authority, "controller", "other"), None);
    assert_eq!(role(authority.root().as_ref(), CLUSTER), None);
    assert_eq!(role(b"nonsense", CLUSTER), None);
}

#[test]
fn a_request_without_certificate_is_refused() {
    let status = admit(Request::new(()), CLUSTER).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
}

#[test]
fn a_socket_that_a_killed_agent_left_is_replaced() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    drop(bind_unix(&path).unwrap());
    assert!(path.exists());
    let _listener = bind_unix(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
}

#[tokio::test]
async fn only_a_dead_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("docker.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let bound = bind_unix(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let taken = bind_unix(&path).unwrap_err().to_string();
    assert!(taken.contains("docker.sock") && taken.contains("another program"), "{taken}");
    drop(bound);
    let file = directory.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(bind_unix(&file).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}
