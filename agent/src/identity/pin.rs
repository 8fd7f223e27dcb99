//! Recognises a cluster whose root certificate this host has never seen, by the
//! hash in the join token: the only moment in which no root is known. The
//! server must show a chain with a root of that hash, and its certificate must
//! be a controller's, valid under exactly that root.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use sha2::{Digest, Sha256};

/// The server showed no root with the hash of the token.
#[derive(Debug, thiserror::Error)]
#[error("it is another cluster than the token's: no certificate it shows has the token's hash")]
pub struct WrongRoot;

/// A verifier that trusts one root, of which it only knows the hash.
#[derive(Debug)]
pub struct PinnedRoot {
    hash: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl PinnedRoot {
    /// Trusts the root whose DER form has this SHA-256.
    pub fn new(hash: [u8; 32], provider: Arc<CryptoProvider>) -> Self {
        Self { hash, provider }
    }

    fn pinned(&self, shown: &[CertificateDer<'_>]) -> Result<CertificateDer<'static>, Error> {
        shown
            .iter()
            .find(|certificate| Sha256::digest(certificate.as_ref()).as_slice() == self.hash)
            .map(|certificate| certificate.clone().into_owned())
            .ok_or_else(|| CertificateError::Other(OtherError(Arc::new(WrongRoot))).into())
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.pinned(intermediates)?)?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
