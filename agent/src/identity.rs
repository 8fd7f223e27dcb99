//! Who this node is in its cluster: a key made here, and a certificate that the
//! controller issued for it. [`join`] gets the first one with a token, [`store`]
//! keeps it, [`renew`] replaces it when half of its life is over. Everybody who
//! needs it holds a `watch` receiver and takes what is current when connecting.

pub mod join;
pub mod pin;
pub mod renew;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
pub mod token;

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

pub use join::JoinError;
pub use token::JoinToken;

/// A node's certificate, its key, and where its cluster is.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// This node in the cluster.
    pub node_id: String,
    /// The cluster.
    pub cluster_id: String,
    /// A controller, `host:port`.
    pub controller: String,
    /// Leaf first, root last; never empty.
    chain: Vec<CertificateDer<'static>>,
    /// PKCS #8.
    key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {} at {}", self.node_id, self.cluster_id, self.controller)
    }
}

/// A chain or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Fewer than a leaf and a root.
    #[error("the certificate chain has {0} certificates; it needs a leaf and a root")]
    Chain(usize),
    /// The leaf is not a certificate that can be read.
    #[error("the node's certificate cannot be read: {0}")]
    Certificate(String),
    /// The leaf belongs to another key.
    #[error("the certificate was issued for another key")]
    OtherKey,
    /// The root is not the one the token or the last certificate named.
    #[error("the certificate comes from another root")]
    OtherRoot,
    /// rustls refused key or chain.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The verifier for clients could not be made.
    #[error("TLS: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// A key could not be made or read.
    #[error("key: {0}")]
    Key(#[from] rcgen::Error),
}

/// The time in which a certificate counts, seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub from: i64,
    /// Until when.
    pub until: i64,
}

impl Identity {
    /// Checks that chain and key belong together.
    ///
    /// # Errors
    /// When they do not, or either cannot be read.
    pub fn new(
        node_id: String,
        cluster_id: String,
        controller: String,
        chain: Vec<CertificateDer<'static>>,
        key: Vec<u8>,
    ) -> Result<Self, IdentityError> {
        if chain.len() < 2 {
            return Err(IdentityError::Chain(chain.len()));
        }
        let pair = rcgen::KeyPair::try_from(key.as_slice())?;
        let ours = rcgen::PublicKeyData::subject_public_key_info(&pair);
        let leaf = parse(&chain[0])?;
        if leaf.public_key().raw != ours.as_slice() {
            return Err(IdentityError::OtherKey);
        }
        Ok(Self { node_id, cluster_id, controller, chain, key })
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The cluster's root certificate.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.chain[self.chain.len() - 1]
    }

    /// SHA-256 of the root.
    pub fn root_hash(&self) -> [u8; 32] {
        Sha256::digest(self.root().as_ref()).into()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, IdentityError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root().clone())?;
        Ok(Arc::new(roots))
    }

    /// How long the node's certificate counts.
    ///
    /// # Errors
    /// When the leaf cannot be read; [`Identity::new`] has read it once.
    pub fn validity(&self) -> Result<Validity, IdentityError> {
        let leaf = parse(&self.chain[0])?;
        let validity = leaf.validity();
        Ok(Validity { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() })
    }

    /// For connections to controllers.
    ///
    /// # Errors
    /// When rustls refuses key or chain.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, IdentityError> {
        let mut config = ClientConfig::builder_with_provider(crate::tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.chain.clone(), self.private_key())?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// For the Node API: every client must show a certificate of this cluster.
    ///
    /// # Errors
    /// When rustls refuses key or chain.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, IdentityError> {
        let provider = crate::tls::provider();
        let clients =
            WebPkiClientVerifier::builder_with_provider(self.roots()?, Arc::clone(&provider)).build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(self.chain.clone(), self.private_key())?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    X509Certificate::from_der(certificate.as_ref())
        .map(|(_, parsed)| parsed)
        .map_err(|error| IdentityError::Certificate(error.to_string()))
}

/// A fresh key and the request for a certificate of it, both in DER form. The
/// request's subject is empty: the controller says who we are, not we.
///
/// # Errors
/// When the random generator or the encoding fails.
pub fn key_and_request() -> Result<(Vec<u8>, Vec<u8>), IdentityError> {
    let key = rcgen::KeyPair::generate()?;
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new())?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    let request = parameters.serialize_request(&key)?;
    Ok((key.serialize_der(), request.der().as_ref().to_vec()))
}
