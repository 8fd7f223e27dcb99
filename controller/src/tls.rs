//! TLS as the cluster speaks it: 1.3 only, ring, HTTP/2, every certificate
//! verified against the cluster's own root and nothing else.
//!
//! A client certificate is optional in the handshake, because an agent that
//! joins has none yet; what a caller without one may do is decided per RPC
//! (`server/access.rs`). Session tickets are off: a resumed session would not
//! be asked for its certificate again, which may have expired meanwhile.

mod accept;
mod own;
mod peer;

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub(crate) use self::accept::incoming;
pub use self::{
    accept::{Connection, Incoming, Limits},
    own::{OwnCertificate, keep_fresh},
    peer::{Peer, VerifiedPeer},
};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused the configuration.
    #[error("TLS could not be set up: {0}")]
    Rustls(#[from] rustls::Error),
    /// The verifier refused the root.
    #[error("the cluster's root certificate can't be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The controller's own certificate could not be issued.
    #[error(transparent)]
    Ca(#[from] crate::ca::CaError),
    /// A certificate names no member of this cluster.
    #[error("the certificate of {address} does not say who it is: {why}")]
    Nameless {
        /// Of the peer.
        address: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What the server side of every connection uses.
///
/// # Errors
/// When the root is not a usable certificate.
pub fn server_config(
    root: &CertificateDer<'static>,
    own: Arc<OwnCertificate>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(root)?, Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What a controller uses to dial others; it shows its own certificate.
///
/// # Errors
/// When the root is not a usable certificate.
pub fn client_config(
    root: &CertificateDer<'static>,
    own: Arc<OwnCertificate>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(roots(root)?, Arc::clone(&provider)).build()?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_cert_resolver(own);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn roots(root: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone())?;
    Ok(Arc::new(roots))
}
