//! Who may call what: one table for every RPC the controller serves, applied
//! in front of all of them. What the table does not name, nobody may call.
//!
//! The role comes from the verified certificate, never from the request. That a
//! node still belongs to the cluster is a question to the State, and asked by
//! the services that serve nodes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use super::forward;
use crate::ca::{ADMIN, Role};
use crate::telemetry;
use crate::tls::Peer;

/// Who may call an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Also callers without a certificate.
    Anyone,
    /// The administrator.
    Admin,
    /// Agents.
    Node,
}

fn rule(path: &str) -> Option<Rule> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    match (service, method) {
        ("roadstead.v1.Identity", "Issue") => Some(Rule::Anyone),
        ("roadstead.v1.Identity", "Renew") | ("roadstead.v1.Dispatch", _) => Some(Rule::Node),
        ("roadstead.v1.Control", _) => Some(Rule::Admin),
        (service, _) if forward::is_of_a_node(service) => Some(Rule::Admin),
        _ => None,
    }
}

/// Decides about one call.
fn check(path: &str, peer: Option<&Peer>, now: SystemTime) -> Result<(), Status> {
    let Some(rule) = rule(path) else {
        return Err(Status::new(Code::PermissionDenied, format!("nobody may call {path}")));
    };
    let verified = peer.and_then(|peer| peer.verified.as_deref());
    if rule == Rule::Anyone {
        return Ok(());
    }
    let Some(verified) = verified else {
        return Err(Status::unauthenticated(
            "this needs a client certificate of the cluster; ctl finds its own through the context in use",
        ));
    };
    if verified.not_after <= now {
        return Err(Status::unauthenticated(
            "the client certificate of this connection has expired; connect again with a renewed one",
        ));
    }
    let name = &verified.name;
    let allowed = match rule {
        Rule::Anyone => true,
        Rule::Admin => name.role == Role::User && name.id == ADMIN,
        Rule::Node => name.role == Role::Node,
    };
    if allowed {
        return Ok(());
    }
    Err(Status::permission_denied(format!("{} {} may not call {path}", name.role, name.id)))
}

/// Puts the table in front of a server, and each call into a span of its own
/// whose parent is the caller's.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessLayer;

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { inner }
    }
}

/// See [`AccessLayer`].
#[derive(Clone, Debug)]
pub(super) struct Access<S> {
    inner: S,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<http::Response<Body>, E>> + Send>>;

impl<S> Service<http::Request<Body>> for Access<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if let Err(status) = check(path, request.extensions().get::<Peer>(), SystemTime::now()) {
            tracing::warn!(path, why = status.message(), "refused a call");
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let span = telemetry::rpc_span(path);
        telemetry::continue_trace(&span, &MetadataMap::from_headers(request.headers().clone()));
        let call = span.in_scope(|| self.inner.call(request));
        let answer = async move {
            let answer = call.await?;
            // An answer that is nothing but an error has its status among the headers.
            if let Some(status) = Status::from_header_map(answer.headers()) {
                telemetry::record_status(&Span::current(), &status);
            }
            Ok(answer)
        };
        Box::pin(answer.instrument(span))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::ca::PeerName;
    use crate::tls::VerifiedPeer;

    fn peer(who: Option<(Role, &str)>, left: Duration) -> Peer {
        let verified = who.map(|(role, id)| {
            let not_after = SystemTime::UNIX_EPOCH + left;
            Arc::new(VerifiedPeer { name: PeerName::new("c", role, id), not_after })
        });
        Peer { address: ([127, 0, 0, 1], 1).into(), verified }
    }

    #[test]
    fn each_role_may_call_its_own_services_and_nothing_else() {
        let callers = [
            (None, "-"),
            (Some((Role::User, "admin")), "admin"),
            (Some((Role::User, "guest")), "guest"),
            (Some((Role::Node, "admin")), "node"),
            (Some((Role::Controller, "1")), "controller"),
        ];
        let table = [
            ("/roadstead.v1.Control/ListServices", "admin"),
            ("/roadstead.v1.Control/CreateJoinToken", "admin"),
            ("/roadstead.v1.NodeControl/ListContainers", "admin"),
            ("/roadstead.v1.Dispatch/Session", "node"),
            ("/roadstead.v1.Identity/Renew", "node"),
            ("/roadstead.v1.Identity/Issue", "- admin guest node controller"),
            ("/roadstead.v1.Identity/Other", ""),
            ("/roadstead.v1.Raft/Send", ""),
            ("/roadstead.v1.Controlx/ListServices", ""),
            ("//Control", ""),
            ("", ""),
        ];
        for (path, allowed) in table {
            for (who, label) in callers {
                let peer = peer(who, Duration::from_secs(10));
                let may = check(path, Some(&peer), SystemTime::UNIX_EPOCH).is_ok();
                assert_eq!(may, allowed.split(' ').any(|a| a == label), "{label} calls {path}");
            }
        }
    }

    #[test]
    fn an_expired_certificate_opens_nothing_even_on_an_old_connection() {
        let peer = peer(Some((Role::User, "admin")), Duration::from_secs(10));
        let path = "/roadstead.v1.Control/ListServices";
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        assert_eq!(check(path, Some(&peer), now).unwrap_err().code(), Code::Unauthenticated);
    }

    #[test]
    fn a_request_without_a_connection_is_a_stranger() {
        let path = "/roadstead.v1.Control/ListServices";
        assert_eq!(check(path, None, SystemTime::UNIX_EPOCH).unwrap_err().code(), Code::Unauthenticated);
    }
}
