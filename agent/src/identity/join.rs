//! Joining: recognise the cluster by the token's hash, then trade the token's
//! secret for a certificate of a key that never leaves this host.

use std::sync::Arc;

use proto::v1::IssueRequest;
use proto::v1::identity_client::IdentityClient;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use tonic::Code;

use super::pin::PinnedRoot;
use super::{Identity, IdentityError, JoinToken, key_and_request};
use crate::tls::{self, DialError};

/// Why the node could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No connection, or not to the token's cluster.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The controller refused the token.
    #[error("the controller refused the join token: {0}; make a new one with `ctl cluster token`")]
    Refused(String),
    /// The controller cannot answer now.
    #[error("the controller could not issue a certificate: {0}")]
    Unavailable(String),
    /// The answer is not a certificate for our key from the pinned root.
    #[error("the controller's answer cannot be used: {0}")]
    Answer(#[from] IdentityError),
}

impl JoinError {
    /// Whether trying again later can help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Dial(DialError::Unreachable { .. }) | Self::Unavailable(_))
    }
}

/// Asks the controller at `address` for a certificate; stores nothing.
///
/// # Errors
/// See [`JoinError`]; the secret was sent only if the root was the token's.
pub async fn join(address: &str, token: &JoinToken, name: &str) -> Result<Identity, JoinError> {
    let stream = tls::dial(address, pinning(token)?).await?;
    let unavailable = |error: tonic::transport::Error| JoinError::Unavailable(error.to_string());
    let mut client = IdentityClient::new(tls::channel(stream).await.map_err(unavailable)?);
    let (key, csr_der) = key_and_request()?;
    let request =
        IssueRequest { token_secret: token.secret().to_owned(), csr_der, node_name: name.to_owned() };
    let answer = client.issue(request).await.map_err(|status| refusal(&status))?.into_inner();
    let chain = answer.chain_der.into_iter().map(CertificateDer::from).collect();
    let identity = Identity::new(answer.node_id, answer.cluster_id, address.to_owned(), chain, key)?;
    if identity.root_hash() != token.root_hash {
        return Err(IdentityError::OtherRoot.into());
    }
    Ok(identity)
}

fn pinning(token: &JoinToken) -> Result<Arc<ClientConfig>, IdentityError> {
    let provider = tls::provider();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedRoot::new(token.root_hash, provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn refusal(status: &tonic::Status) -> JoinError {
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument | Code::NotFound => {
            JoinError::Refused(status.message().to_owned())
        }
        _ => JoinError::Unavailable(status.message().to_owned()),
    }
}

#[cfg(test)]
mod tests;
