//! The server: one router, reached with or without a version in the path.

use std::future::Future;

use agent_engine::Engine;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::error::ApiError;
use crate::{container, image, system, version};

/// Most connections at a time; further ones wait in the listener's queue.
const CONNECTIONS: usize = 256;

/// Serves `listener` until `shutdown` is ready; open connections then end.
pub async fn serve(listener: UnixListener, engine: Engine, shutdown: impl Future<Output = ()>) {
    let router = router(engine);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the docker socket cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn router(engine: Engine) -> Router {
    Router::new()
        .route("/_ping", get(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/containers/json", get(container::list))
        .route("/containers/{name}/json", get(container::inspect))
        .route("/images/json", get(image::list))
        .fallback(|| async { ApiError::NoSuchPage })
        .with_state(engine)
}

async fn connection(stream: UnixStream, router: Router) {
    let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(router, request.map(Body::new)).await) }
    });
    let served = Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a docker client's connection broke");
    }
}

async fn answer(router: Router, mut request: Request) -> Response {
    let rewritten = version::split(request.uri().path()).map(|(_, rest)| rest.to_owned());
    let path = match rewritten {
        Ok(path) => path,
        Err(said) => return ApiError::BadRequest(said).into_response(),
    };
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    match target.parse::<Uri>() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(error) => return ApiError::BadRequest(format!("path {target:?}: {error}")).into_response(),
    }
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
