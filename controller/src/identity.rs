//! The Identity service: how agents get and renew their certificates.
//!
//! What a certificate says comes from the State: the node's id was minted by the
//! cluster, the role is that of the token. Of the request only the public key is
//! used, after its signature has proved that the caller holds the private one.

use std::time::SystemTime;

use controller_core::{Command, Event, NodeId};
use proto::v1::{self, identity_server::Identity};
use tonic::{Request, Response, Status};

use crate::ca::{PeerName, Role, VerifiedRequest, hash_secret};
use crate::error::ApiError;
use crate::leader::clock;
use crate::server::{Context, known_node};

/// Longest fields that are looked at at all.
const MAX_SECRET: usize = 256;
const MAX_REQUEST: usize = 16 * 1024;
const MAX_NAME: usize = 256;

/// Serves the Identity service.
#[derive(Clone, Debug)]
pub(crate) struct IdentityApi {
    context: Context,
}

impl IdentityApi {
    /// Serves from these parts.
    pub(crate) fn new(context: Context) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl Identity for IdentityApi {
    async fn issue(&self, request: Request<v1::IssueRequest>) -> Result<Response<v1::IssueResponse>, Status> {
        Ok(Response::new(issue(&self.context, request.into_inner()).await?))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let node = known_node(&self.context, request.extensions())?;
        Ok(Response::new(renew(&self.context, node, &request.into_inner())?))
    }
}

/// Everything is checked before the cluster is changed: a refused caller leaves
/// no node behind.
async fn issue(context: &Context, request: v1::IssueRequest) -> Result<v1::IssueResponse, ApiError> {
    let hash = token_hash(context, &request.token_secret)?;
    let csr = verify(&request.csr_der)?;
    let wished = request.node_name;
    if wished.len() > MAX_NAME {
        return Err(ApiError::Protocol("node_name: must be at most 256 bytes"));
    }
    let id = context.ids.node();
    let command = Command::AdmitNode { id, name: wished, token_hash: hash, at: clock() };
    let events = context.store.propose_checked(command).await?;
    let name = events.iter().find_map(|event| match event {
        Event::NodeAdmitted { name, .. } => Some(name.as_str()),
        _ => None,
    });
    tracing::info!(node = %id, name, "a node joined");
    let chain_der = sign(context, id, csr)?;
    Ok(v1::IssueResponse {
        node_id: id.to_string(),
        cluster_id: context.ca.cluster_id().to_owned(),
        chain_der,
    })
}

fn renew(context: &Context, node: NodeId, request: &v1::RenewRequest) -> Result<v1::RenewResponse, ApiError> {
    let csr = verify(&request.csr_der)?;
    Ok(v1::RenewResponse { chain_der: sign(context, node, csr)? })
}

/// One message for every wrong token, so that nothing is learned from it.
fn token_hash(context: &Context, secret: &str) -> Result<String, ApiError> {
    let denied = || {
        ApiError::Denied(
            "the join token is unknown or has expired; make a new one with `ctl cluster token`".to_owned(),
        )
    };
    if secret.is_empty() || secret.len() > MAX_SECRET {
        return Err(denied());
    }
    let hash = hash_secret(secret);
    let state = context.store.state();
    let token = state.token(&hash).filter(|token| token.expires > clock()).ok_or_else(denied)?;
    match token.role {
        controller_core::Role::Agent => Ok(hash),
    }
}

fn verify(csr: &[u8]) -> Result<VerifiedRequest, ApiError> {
    if csr.len() > MAX_REQUEST {
        return Err(ApiError::Protocol("csr_der: must be at most 16 KiB"));
    }
    Ok(VerifiedRequest::from_der(csr)?)
}

fn sign(context: &Context, node: NodeId, csr: VerifiedRequest) -> Result<Vec<Vec<u8>>, ApiError> {
    let name = PeerName::new(context.ca.cluster_id(), Role::Node, node.as_str());
    let issued = context.ca.issue(&name, csr, SystemTime::now())?;
    Ok(issued.chain.iter().map(|der| der.to_vec()).collect())
}
