//! The server: one router, reached with or without a version in the path, and
//! what every answer has in common.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use agent_engine::Engine;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::error::ApiError;
use crate::{container, image, system, transfer, version};

/// Most connections at a time; further ones wait in the listener's queue.
const CONNECTIONS: usize = 1024;
/// The time for the head of a request, and for a connection without one.
const HEAD: Duration = Duration::from_secs(300);
/// The time for the body of a request that is refused whatever it says.
const DISCARD: Duration = Duration::from_secs(10);

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
                    tokio::time::sleep(Duration::from_millis(100)).await;
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
        .route("/images/get", get(image::archive::get))
        .route("/images/load", post(image::archive::load))
        .route("/images/create", post(image::archive::create))
        .route("/images/prune", post(image::prune))
        .route("/images/{*path}", get(image::one::get).post(image::one::post).delete(image::one::delete))
        .route("/system/df", get(system::usage::df))
        .route("/auth", post(transfer::auth))
        .fallback(unserved)
        .method_not_allowed_fallback(unknown)
        .with_state(engine)
}

/// What the calls begin with that Docker has. Its client takes "not found" for a
/// missing container or image, and would say that instead.
const FAMILIES: [&str; 22] = [
    "auth",
    "build",
    "commit",
    "configs",
    "containers",
    "distribution",
    "events",
    "exec",
    "grpc",
    "images",
    "networks",
    "nodes",
    "plugins",
    "secrets",
    "services",
    "session",
    "swarm",
    "system",
    "tasks",
    "volumes",
    "checkpoints",
    "debug",
];

/// A path that is not served: Docker's clients read "not supported" as such.
async fn unserved(method: Method, uri: Uri, body: Body) -> Response {
    let family = uri.path().split('/').nth(1).unwrap_or_default();
    if FAMILIES.contains(&family) && method != Method::OPTIONS {
        discard(body).await;
        return ApiError::NotSupported(format!("{method} {}", uri.path())).into_response();
    }
    unknown(method, body).await
}

/// Docker knows no "method not allowed", and lets anyone ask for options.
async fn unknown(method: Method, body: Body) -> Response {
    discard(body).await;
    if method == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else {
        ApiError::NoSuchPage.into_response()
    }
}

/// Reads a body to its end. A connection that closes on a client still sending
/// shows it a broken pipe, and never the answer.
async fn discard(body: Body) {
    let mut pieces = body.into_data_stream();
    let read = async { while let Some(Ok(_)) = pieces.next().await {} };
    if tokio::time::timeout(DISCARD, read).await.is_err() {
        tracing::debug!("the body of a refused request did not end in time");
    }
}

async fn connection(stream: UnixStream, router: Router) {
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request.map(Body::new)).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a docker client's connection broke");
    }
}

/// Answers one request, with what every answer carries.
async fn answer(router: Router, request: Request) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = match unversioned(&uri) {
        Ok(target) => {
            let mut request = request;
            *request.uri_mut() = target;
            let Ok(response) = router.oneshot(request).await;
            response
        }
        Err(refusal) => {
            discard(request.into_body()).await;
            refusal.into_response()
        }
    };
    tracing::debug!(%method, path = uri.path(), status = response.status().as_u16(), "a docker client asked");
    response.headers_mut().extend(common());
    response
}

/// What is asked for, with a version that is spoken taken off its path.
fn unversioned(asked: &Uri) -> Result<Uri, ApiError> {
    let path = version::split(asked.path())?;
    // Clients put names such as "/web" into paths as they are.
    let path = path.replace("//", "/");
    let target = match asked.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    target.parse::<Uri>().map_err(|error| ApiError::BadRequest(format!("path {target:?}: {error}")))
}

fn common() -> HeaderMap {
    let server = concat!("Docker/", env!("CARGO_PKG_VERSION"), " (linux)");
    let mut headers = HeaderMap::new();
    for (name, value) in [("ostype", "linux"), ("docker-experimental", "false"), ("server", server)] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Ok(version) = HeaderValue::from_str(&version::MAXIMUM.to_string()) {
        headers.insert("api-version", version);
    }
    headers
}
