//! A certificate authority for tests, as a controller would have one.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

use super::{Identity, JoinToken};

/// The name of every test cluster.
pub(crate) const CLUSTER: &str = "c1";

/// A root and its key.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::<String>::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters.distinguished_name.push(DnType::CommonName, "test root");
        Self { issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn root(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A token of this cluster.
    pub(crate) fn token(&self, secret: &str) -> JoinToken {
        let hash = hex::encode(Sha256::digest(self.root().as_ref()));
        format!("RDST1-{hash}-{secret}").parse().unwrap()
    }

    fn parameters(role: &str, id: &str) -> CertificateParams {
        let mut parameters = CertificateParams::new(vec![format!("{role}.roadstead")]).unwrap();
        let uri = format!("spiffe://{CLUSTER}/{role}/{id}");
        parameters.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        parameters
    }

    /// The chain for a request, as `Identity.Issue` answers it.
    pub(crate) fn answer(&self, csr: &[u8], role: &str, id: &str) -> Vec<Vec<u8>> {
        let mut request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr)).unwrap();
        request.params = Self::parameters(role, id);
        let leaf = request.signed_by(&self.issuer).unwrap();
        vec![leaf.der().to_vec(), self.root().to_vec()]
    }

    /// A chain and key of `role`.
    pub(crate) fn issue(&self, role: &str, id: &str) -> (Vec<CertificateDer<'static>>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let leaf = Self::parameters(role, id).signed_by(&key, &self.issuer).unwrap();
        (vec![leaf.der().clone(), self.root()], key.serialize_der())
    }

    /// An identity of `role`, whose controller is at `address`.
    pub(crate) fn identity(&self, role: &str, id: &str, address: &str) -> Identity {
        let (chain, key) = self.issue(role, id);
        Identity::new(id.to_owned(), CLUSTER.to_owned(), address.to_owned(), chain, key).unwrap()
    }

    /// A node's identity.
    pub(crate) fn node(&self, id: &str, address: &str) -> Identity {
        self.identity("node", id, address)
    }

    /// What a controller of this cluster serves with: clients may come without certificate.
    pub(crate) fn controller(&self) -> Arc<ServerConfig> {
        let (chain, key) = self.issue("controller", "1");
        let mut roots = RootCertStore::empty();
        roots.add(self.root()).unwrap();
        let provider = crate::tls::provider();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)))
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

/// Accepts TLS connections on loopback; answers the address and the connections.
pub(crate) async fn listen(
    config: Arc<ServerConfig>,
) -> (
    String,
    tokio_stream::wrappers::ReceiverStream<
        std::io::Result<tokio_rustls::server::TlsStream<tokio::net::TcpStream>>,
    >,
) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (accepted, incoming) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await
                && accepted.send(Ok(stream)).await.is_err()
            {
                return;
            }
        }
    });
    (address, tokio_stream::wrappers::ReceiverStream::new(incoming))
}
