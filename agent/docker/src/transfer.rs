//! `/images/create`, `/images/{name}/push` and `/auth`: what goes between this host and registries. Progress is one JSON
//! object a line; what fails after the first line is told in the stream, since the status has gone out by then.

use agent_engine::Engine;
use agent_engine::content::Digest;
use agent_engine::image::{
    Credentials, LayerStep, PullError, PullOptions, PullProgress, PushOptions, PushProgress, PushStep,
    Reference,
};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::credentials;
use crate::error::ApiError;
use crate::image::one::platform;
use crate::query::{Params, text};

/// Lines that may wait for a slow client; further ones are left out, and the next says more anyway.
const WAITING: usize = 64;
/// Longest body of a login, in bytes.
const MAX_LOGIN: usize = 64 << 10;

type Lines = mpsc::Sender<Value>;

/// `POST /images/create` of an image that a registry has: a pull.
pub(crate) async fn create(
    engine: Engine,
    params: &Params,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let name = text(params, "fromImage").unwrap_or_default();
    let image = reference(name, text(params, "tag"))?;
    let options = PullOptions { platform: platform(params)?, login: credentials::of(headers, &image)? };
    let (lines, received) = mpsc::channel(WAITING);
    let work = async move {
        let tag = image.tag().map(str::to_owned).or(image.digest().map(ToString::to_string));
        let title = json!({ "status": format!("Pulling from {}", image.path()), "id": tag });
        let mut begun = false;
        let hear = lines.clone();
        let tell = std::sync::Mutex::new(move |line: Value| {
            // The name is resolved once there is something to tell of its layers.
            if !std::mem::replace(&mut begun, true) {
                let _ = hear.try_send(title.clone());
            }
            let _ = hear.try_send(line);
        });
        let progress = |step| {
            if let (Some(line), Ok(mut tell)) = (pulling(step), tell.lock()) {
                tell(line);
            }
        };
        let images = engine.images();
        let before = images.get(&image).await.ok().flatten().map(|known| known.manifest_digest);
        let pulled = images.pull(&image, &options, progress).await;
        let pulled = pulled.map_err(ApiError::from)?;
        let state = if before.as_ref() == Some(&pulled.manifest_digest) {
            "Image is up to date for"
        } else {
            "Downloaded newer image for"
        };
        let _ = lines.send(json!({ "status": format!("Digest: {}", pulled.manifest_digest) })).await;
        let _ = lines.send(json!({ "status": format!("Status: {state} {image}") })).await;
        Ok(())
    };
    answer(Box::pin(work), received).await
}

/// `POST /images/{name}/push`.
pub(crate) async fn push(
    engine: Engine,
    name: &str,
    params: &Params,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let image = reference(name, text(params, "tag"))?;
    let options = PushOptions { platform: platform(params)?, login: credentials::of(headers, &image)? };
    let tags = match text(params, "tag") {
        Some(tag) if !tag.is_empty() => vec![image],
        _ => tags(&engine, &image).await?,
    };
    let (lines, received) = mpsc::channel(WAITING);
    let work = async move {
        for image in tags {
            push_one(&engine, &image, &options, &lines).await?;
        }
        Ok(())
    };
    answer(Box::pin(work), received).await
}

/// Without a tag Docker means all of them.
async fn tags(engine: &Engine, image: &Reference) -> Result<Vec<Reference>, ApiError> {
    let names = engine.images().list().await?.into_iter().map(|found| found.name);
    let same = |name: &Reference| name.domain() == image.domain() && name.path() == image.path();
    let tags: Vec<Reference> = names.filter(|name| same(name) && name.digest().is_none()).collect();
    if tags.is_empty() { Err(PullError::Absent { image: image.to_string() }.into()) } else { Ok(tags) }
}

async fn push_one(
    engine: &Engine,
    image: &Reference,
    options: &PushOptions,
    lines: &Lines,
) -> Result<(), ApiError> {
    let repository = format!("{}/{}", image.domain(), image.path());
    // A client that has gone needs no lines.
    let _ = lines.send(json!({ "status": format!("The push refers to repository [{repository}]") })).await;
    let progress = |step| {
        if let Some(line) = pushing(step) {
            let _ = lines.try_send(line);
        }
    };
    let pushed = engine.images().push(image, options, progress).await?;
    let (tag, digest, size) = (image.tag().unwrap_or_default(), pushed.digest.to_string(), pushed.size);
    if pushed.instead_of.is_some() {
        let note = "Not all multiplatform-content is present and only the available single-platform image was pushed";
        let _ = lines.send(json!({ "status": note })).await;
    }
    let _ = lines.send(json!({ "status": format!("{tag}: digest: {digest} size: {size}") })).await;
    let aux = json!({ "Tag": tag, "Digest": digest, "Size": size });
    let _ = lines.send(json!({ "progressDetail": {}, "aux": aux })).await;
    Ok(())
}

/// `POST /auth`: tries credentials.
pub(crate) async fn auth(State(engine): State<Engine>, body: Bytes) -> Result<Json<Value>, ApiError> {
    if body.len() > MAX_LOGIN {
        return Err(ApiError::BadRequest("a login is not as long as that".to_owned()));
    }
    let (registry, credentials) = credentials::of_login(&body)?;
    let credentials: Credentials = credentials;
    engine.images().check_login(&registry, &credentials).await?;
    Ok(Json(json!({ "Status": "Login Succeeded", "IdentityToken": "" })))
}

/// The lines of some work as they come. What fails before there is any is an answer of its own.
async fn answer(
    work: futures::future::BoxFuture<'static, Result<(), ApiError>>,
    mut received: mpsc::Receiver<Value>,
) -> Result<Response, ApiError> {
    let mut work = tokio::spawn(work);
    let first = tokio::select! {
        biased;
        line = received.recv() => line,
        ended = &mut work => {
            ended.map_err(|_| ApiError::from(PullError::Interrupted))??;
            received.recv().await
        }
    };
    let Some(first) = first else {
        // The lines have ended without any: the work has failed.
        work.await.map_err(|_| ApiError::from(PullError::Interrupted))??;
        return Ok(().into_response());
    };
    let state = (Some(first), received, Some(Stopping(work)));
    let lines = stream::unfold(state, |(first, mut received, mut work)| async move {
        let line = match first {
            Some(first) => Some(first),
            None => received.recv().await,
        };
        let line = match line {
            Some(line) => line,
            None => match (&mut work.take()?.0).await {
                Ok(Err(error)) => {
                    let message = error.message();
                    json!({ "errorDetail": { "message": message }, "error": message })
                }
                _ => return None,
            },
        };
        Some((Ok::<_, std::convert::Infallible>(format!("{line}\r\n")), (None, received, work)))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
}

/// Work that ends when nobody reads of it any more.
struct Stopping(tokio::task::JoinHandle<Result<(), ApiError>>);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn reference(name: &str, tag: Option<&str>) -> Result<Reference, ApiError> {
    let text = match tag.filter(|tag| !tag.is_empty()) {
        Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
        Some(tag) => format!("{name}:{tag}"),
        None => name.to_owned(),
    };
    text.parse().map_err(|error| ApiError::BadRequest(format!("invalid reference format: {error}")))
}

fn pulling(progress: PullProgress) -> Option<Value> {
    match progress {
        PullProgress::Resolving => None,
        PullProgress::Delayed { reason, wait } => {
            Some(json!({ "status": format!("{reason}; trying again in {} s", wait.as_secs()) }))
        }
        PullProgress::Layer { digest, step } => Some(match step {
            LayerStep::Waiting => line(&digest, "Pulling fs layer", None),
            LayerStep::Fetching { done, total } => line(&digest, "Downloading", Some((done, total))),
            LayerStep::Unpacking => line(&digest, "Extracting", None),
            LayerStep::Done => line(&digest, "Pull complete", None),
        }),
    }
}

fn pushing(progress: PushProgress) -> Option<Value> {
    match progress {
        PushProgress::Delayed { reason, wait } => {
            Some(json!({ "status": format!("{reason}; trying again in {} s", wait.as_secs()) }))
        }
        PushProgress::Blob { digest, step } => Some(match step {
            PushStep::Waiting => line(&digest, "Waiting", None),
            PushStep::Sending { done, total } => line(&digest, "Pushing", Some((done, total))),
            PushStep::Done => line(&digest, "Pushed", None),
            PushStep::Present => line(&digest, "Layer already exists", None),
            PushStep::Mounted(source) => line(&digest, &format!("Mounted from {source}"), None),
        }),
    }
}

fn line(digest: &Digest, status: &str, bytes: Option<(u64, u64)>) -> Value {
    let id: String = digest.hex().chars().take(12).collect();
    let detail = bytes.map_or(json!({}), |(current, total)| json!({ "current": current, "total": total }));
    json!({ "status": status, "progressDetail": detail, "id": id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_are_read_as_clients_send_them() {
        let shown = |name: &str, tag: Option<&str>| reference(name, tag).map(|name| name.to_string()).ok();
        assert_eq!(shown("docker.io/library/alpine", Some("3")).as_deref(), Some("alpine:3"));
        assert_eq!(shown("r.example/x:1", None).as_deref(), Some("r.example/x:1"));
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(shown("x", Some(&digest)), Some(format!("x@{digest}")));
        assert_eq!(shown("x", Some("a b")), None);
    }
}
