//! Replaces the node's certificate when half of its life is over, so that there
//! is as long again to mend whatever keeps a renewal from succeeding.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::v1::RenewRequest;
use proto::v1::identity_client::IdentityClient;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::store::{Store, StoreError};
use super::{Identity, IdentityError, Validity, key_and_request};
use crate::tls::{self, DialError};

/// Pause after a renewal that failed.
const RETRY: Duration = Duration::from_secs(30);
/// The longest single sleep: a host that was suspended or whose clock was set
/// notices within this time.
const NAP: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("the controller refused: {0}")]
    Refused(#[from] tonic::Status),
    #[error(transparent)]
    Answer(#[from] IdentityError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Seconds until half of the certificate's life is over; 0 when it is.
pub fn due_in(validity: Validity, now: i64) -> u64 {
    let half = validity.from + (validity.until - validity.from) / 2;
    u64::try_from(half - now).unwrap_or(0)
}

/// Renews for as long as the agent runs.
pub async fn run(identity: watch::Sender<Arc<Identity>>, store: Store, stop: CancellationToken) {
    loop {
        let pause = match turn(&identity, &store).await {
            Ok(pause) => pause,
            Err(error) => {
                warn!(%error, "the node's certificate was not renewed; trying again in {} s", RETRY.as_secs());
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Renews if it is time; answers how long to sleep.
async fn turn(identity: &watch::Sender<Arc<Identity>>, store: &Store) -> Result<Duration, RenewError> {
    let current = Arc::clone(&identity.borrow());
    let due = Duration::from_secs(due_in(current.validity()?, unix_seconds()));
    if !due.is_zero() {
        return Ok(due.min(NAP));
    }
    let renewed = renew(&current).await?;
    store.save(&renewed)?;
    info!("the node's certificate was renewed");
    identity.send_replace(Arc::new(renewed));
    Ok(RETRY)
}

async fn renew(current: &Identity) -> Result<Identity, RenewError> {
    let stream = tls::dial(&current.controller, current.client_config()?).await?;
    let mut client = IdentityClient::new(tls::channel(stream).await?);
    let (key, csr_der) = key_and_request()?;
    let answer = client.renew(RenewRequest { csr_der }).await?.into_inner();
    let chain = answer.chain_der.into_iter().map(CertificateDer::from).collect();
    let renewed = Identity::new(
        current.node_id.clone(),
        current.cluster_id.clone(),
        current.controller.clone(),
        chain,
        key,
    )?;
    if renewed.root_hash() != current.root_hash() {
        return Err(IdentityError::OtherRoot.into());
    }
    Ok(renewed)
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proto::v1::identity_server::{Identity as IdentityService, IdentityServer};
    use proto::v1::{IssueRequest, IssueResponse, RenewResponse};
    use tonic::transport::Server;
    use tonic::{Request, Response, Status};

    use super::*;
    use crate::identity::testing::{Authority, listen};

    /// Renews with the certificates of `issuing`, for callers that have one.
    struct Controller {
        issuing: Arc<Authority>,
    }

    #[tonic::async_trait]
    impl IdentityService for Controller {
        async fn issue(&self, _: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
            Err(Status::unimplemented("not here"))
        }

        async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
            if request.peer_certs().is_none_or(|chain| chain.is_empty()) {
                return Err(Status::unauthenticated("no certificate"));
            }
            let chain_der = self.issuing.answer(&request.into_inner().csr_der, "node", "n1");
            Ok(Response::new(RenewResponse { chain_der }))
        }
    }

    async fn serve(shown: &Arc<Authority>, issuing: &Arc<Authority>) -> String {
        let (address, incoming) = listen(shown.controller()).await;
        let service = IdentityServer::new(Controller { issuing: Arc::clone(issuing) });
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        address
    }

    #[tokio::test]
    async fn a_renewal_has_a_new_key_and_is_otherwise_the_same_node() {
        let cluster = Arc::new(Authority::new());
        let old = cluster.node("n1", &serve(&cluster, &cluster).await);
        let new = renew(&old).await.unwrap();
        assert_eq!((&new.node_id, &new.controller, new.root()), (&old.node_id, &old.controller, old.root()));
        assert_ne!(new, old);
    }

    #[tokio::test]
    async fn a_renewal_from_another_root_is_not_taken() {
        let cluster = Arc::new(Authority::new());
        let old = cluster.node("n1", &serve(&cluster, &Arc::new(Authority::new())).await);
        assert!(matches!(renew(&old).await, Err(RenewError::Answer(IdentityError::OtherRoot))));
    }

    #[test]
    fn a_certificate_is_renewed_at_half_of_its_life_and_not_before() {
        let validity = Validity { from: 1_000, until: 3_000 };
        assert_eq!(due_in(validity, 500), 1_500);
        assert_eq!(due_in(validity, 1_999), 1);
        assert_eq!(due_in(validity, 2_000), 0);
        assert_eq!(due_in(validity, 9_000), 0);
    }
}
