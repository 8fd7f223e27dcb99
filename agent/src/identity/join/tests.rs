//! Joining over real TLS connections, with honest and other controllers.

use std::sync::{Arc, Mutex};

use proto::v1::identity_server::{Identity as IdentityService, IdentityServer};
use proto::v1::{IssueResponse, RenewRequest, RenewResponse};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::*;
use crate::identity::testing::{Authority, CLUSTER, listen};

/// Answers requests, and remembers the secrets it was told.
struct Controller {
    shown: Arc<Authority>,
    issuing: Arc<Authority>,
    secrets: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl IdentityService for Controller {
    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
        let request = request.into_inner();
        self.secrets.lock().unwrap().push(request.token_secret.clone());
        if request.token_secret != "right" {
            return Err(Status::permission_denied("the token has expired"));
        }
        Ok(Response::new(IssueResponse {
            node_id: "n1".into(),
            cluster_id: CLUSTER.into(),
            chain_der: self.issuing.answer(&request.csr_der, "node", "n1"),
        }))
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// Serves a controller; answers its address and the secrets it hears.
async fn serve(shown: &Arc<Authority>, issuing: &Arc<Authority>) -> (String, Arc<Mutex<Vec<String>>>) {
    let controller =
        Controller { shown: Arc::clone(shown), issuing: Arc::clone(issuing), secrets: Arc::default() };
    let secrets = Arc::clone(&controller.secrets);
    let (address, incoming) = listen(controller.shown.controller()).await;
    tokio::spawn(
        Server::builder().add_service(IdentityServer::new(controller)).serve_with_incoming(incoming),
    );
    (address, secrets)
}

#[tokio::test]
async fn a_token_buys_a_certificate_for_a_key_made_here() {
    let cluster = Arc::new(Authority::new());
    let (address, _) = serve(&cluster, &cluster).await;
    let identity = join(&address, &cluster.token("right"), "host").await.unwrap();
    assert_eq!((identity.node_id.as_str(), identity.controller.as_str()), ("n1", address.as_str()));
    assert_eq!(identity.root(), &cluster.root());
    identity.client_config().unwrap();
    identity.server_config().unwrap();
}

#[tokio::test]
async fn another_cluster_never_hears_the_secret() {
    let ours = Authority::new();
    let theirs = Arc::new(Authority::new());
    let (address, secrets) = serve(&theirs, &theirs).await;
    let error = join(&address, &ours.token("right"), "host").await.unwrap_err();
    assert!(!error.is_passing(), "{error}");
    assert!(error.to_string().contains("another cluster"), "{error}");
    assert!(secrets.lock().unwrap().is_empty());
}

/// Whoever joins `cluster` does not talk to a server that shows `chain`.
async fn is_not_trusted(chain: Vec<CertificateDer<'static>>, key: Vec<u8>, cluster: &Authority) {
    let mut config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(key.into()))
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (address, _incoming) = listen(Arc::new(config)).await;
    let error = join(&address, &cluster.token("right"), "host").await.unwrap_err();
    assert!(matches!(error, JoinError::Dial(DialError::Untrusted { .. })), "{error}");
}

#[tokio::test]
async fn a_server_that_only_shows_the_right_root_is_refused() {
    // The leaf is signed by its own root; the pinned root is merely appended.
    let ours = Authority::new();
    let theirs = Authority::new();
    let (chain, key) = theirs.issue("controller", "1");
    let chain = vec![chain[0].clone(), ours.root()];
    is_not_trusted(chain, key, &ours).await;
}

#[tokio::test]
async fn a_node_of_the_cluster_is_no_controller() {
    let cluster = Authority::new();
    let (chain, key) = cluster.issue("node", "n7");
    is_not_trusted(chain, key, &cluster).await;
}

#[tokio::test]
async fn a_refused_token_is_final_and_an_absent_controller_is_not() {
    let cluster = Arc::new(Authority::new());
    let (address, _) = serve(&cluster, &cluster).await;
    let error = join(&address, &cluster.token("wrong"), "host").await.unwrap_err();
    assert!(matches!(error, JoinError::Refused(_)) && !error.is_passing(), "{error}");
    assert!(error.to_string().contains("expired"), "{error}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = join(&closed, &cluster.token("right"), "host").await.unwrap_err();
    assert!(error.is_passing(), "{error}");
}

#[tokio::test]
async fn a_certificate_from_another_root_is_not_taken() {
    let cluster = Arc::new(Authority::new());
    let other = Arc::new(Authority::new());
    let (address, _) = serve(&cluster, &other).await;
    let error = join(&address, &cluster.token("right"), "host").await.unwrap_err();
    assert!(matches!(error, JoinError::Answer(IdentityError::OtherRoot)), "{error}");
}
