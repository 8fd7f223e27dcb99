//! Calls that are meant for one node's agent and come to the controller: they
//! are passed on as they are, message for message, over the controller's own
//! connection to that node. Who may send them is decided by [`access`](super::access),
//! before; what they mean is the agent's business.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use controller_core::State;
use http::header::HeaderName;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt};

use crate::error::ApiError;
use crate::node_client::Destination;
use crate::server::Context;
use crate::telemetry::current_traceparent;

/// Metadata that names the node: its name, its id, or a unique beginning of the id.
const NODE: HeaderName = HeaderName::from_static("roadstead-node");

/// The gRPC services of an agent that people may use from afar.
const SERVICES: [&str; 7] = [
    "roadstead.v1.NodeControl",
    "roadstead.v1.Registries",
    "roadstead.v1.Exec",
    "roadstead.v1.Volumes",
    "roadstead.v1.Images",
    "roadstead.v1.ContainerFiles",
    "roadstead.v1.Events",
];

/// Whether a gRPC service is an agent's.
pub(super) fn is_of_a_node(service: &str) -> bool {
    SERVICES.contains(&service)
}

fn service(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

/// Puts the passing on in front of the controller's own services.
#[derive(Clone, Debug)]
pub(super) struct ForwardLayer(pub(super) Context);

impl<S> Layer<S> for ForwardLayer {
    type Service = Forward<S>;

    fn layer(&self, inner: S) -> Forward<S> {
        Forward { inner, context: self.0.clone() }
    }
}

/// See [`ForwardLayer`].
#[derive(Clone, Debug)]
pub(super) struct Forward<S> {
    inner: S,
    context: Context,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<http::Response<Body>, E>> + Send>>;

impl<S> Service<http::Request<Body>> for Forward<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if !is_of_a_node(service(request.uri().path())) {
            return Box::pin(self.inner.call(request));
        }
        let context = self.context.clone();
        Box::pin(async move { Ok(pass_on(&context, request).await.unwrap_or_else(Status::into_http)) })
    }
}

async fn pass_on(context: &Context, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
    let (mut parts, body) = request.into_parts();
    let name = parts.headers.remove(NODE);
    let name = name.as_ref().and_then(|name| name.to_str().ok()).ok_or_else(|| {
        Status::invalid_argument(format!("this call is for a node: say which one in the metadata {NODE}"))
    })?;
    let node = destination(&context.store.state(), name)?;
    let channel = context.nodes.channel(&node).map_err(ApiError::from)?;
    // The node's spans belong below this call's.
    if let Some(trace) = current_traceparent().and_then(|trace| trace.parse().ok()) {
        parts.headers.insert("traceparent", trace);
    }
    let call = channel.oneshot(http::Request::from_parts(parts, body));
    tokio::select! {
        answer = call => answer.map_err(|error| Status::unavailable(root_cause(&error))),
        () = context.closing.closed() => Err(ApiError::ShuttingDown.into()),
    }
}

/// The one node that is called so.
fn destination(state: &State, name: &str) -> Result<Destination, ApiError> {
    let mut by_id = state.nodes().filter(|node| !name.is_empty() && node.id.to_string().starts_with(name));
    let unique = || by_id.next().filter(|_| by_id.next().is_none());
    let node = state.node_by_name(name).or_else(unique);
    node.map(|node| Destination::of(node)).ok_or_else(|| ApiError::not_found("node", name))
}

/// The innermost cause says what happened; the outer ones say "transport error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_agents_own_services_are_passed_on() {
        assert!(is_of_a_node(service("/roadstead.v1.NodeControl/ListContainers")));
        for path in ["/roadstead.v1.Control/ListNodes", "/roadstead.v1.NodeControlX/A", "", "//", "/x"] {
            assert!(!is_of_a_node(service(path)), "{path}");
        }
    }
}
