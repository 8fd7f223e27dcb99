//! Archives of images and of file systems, to and from Docker's clients.

use agent_engine::image::{Platform, Reference};
use agent_engine::{Engine, ImportOptions};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::json;
use tokio::sync::mpsc;

use super::one::platform;
use crate::error::ApiError;
use crate::query::{Params, text};

/// Pieces that wait for the disk.
const PIECES: usize = 4;

/// `GET /images/get`.
pub(crate) async fn get(State(engine): State<Engine>, params: Params) -> Result<Response, ApiError> {
    let names: Vec<String> =
        params.iter().filter(|(key, _)| key == "names").map(|(_, value)| value.clone()).collect();
    if names.is_empty() {
        return Err(ApiError::BadRequest("no images are named".to_owned()));
    }
    save(&engine, &names, platform(&params)?).await
}

/// Images as an archive. What fails once it has begun breaks it off.
pub(super) async fn save(
    engine: &Engine,
    images: &[String],
    platform: Option<Platform>,
) -> Result<Response, ApiError> {
    let pieces = engine.images().save(images, platform).await?;
    let pieces = futures::stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((
            piece.inspect_err(|error| tracing::warn!(%error, "a docker client's archive broke off")),
            pieces,
        ))
    });
    Ok(([(CONTENT_TYPE, "application/x-tar")], Body::from_stream(pieces)).into_response())
}

/// `POST /images/load`.
pub(crate) async fn load(
    State(engine): State<Engine>,
    params: Params,
    body: Body,
) -> Result<Response, ApiError> {
    let loaded = engine.load_images(feed(body), platform(&params)?, |_| {}).await?;
    let mut lines = String::new();
    for image in loaded {
        let said: Vec<String> = match image.names.as_slice() {
            [] => vec![format!("Loaded image ID: {}\n", image.id)],
            names => names.iter().map(|name| format!("Loaded image: {name}\n")).collect(),
        };
        for line in said {
            lines += &format!("{}\r\n", json!({ "stream": line }));
        }
    }
    Ok(([(CONTENT_TYPE, "application/json")], lines).into_response())
}

/// `POST /images/create`: a pull, or an image made of an archive in the body.
pub(crate) async fn create(
    State(engine): State<Engine>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    match text(&params, "fromSrc") {
        Some("-") => {}
        Some(source) => {
            return Err(ApiError::NotSupported(format!("import from {source}: send the archive itself, it")));
        }
        None => return crate::transfer::create(engine, &params, &headers).await,
    }
    let repository = text(&params, "repo").unwrap_or_default();
    let tag = text(&params, "tag").filter(|tag| !tag.is_empty()).map(|tag| format!(":{tag}"));
    let image = match repository {
        "" => None,
        name => {
            let name = format!("{name}{}", tag.unwrap_or_default()).parse::<Reference>();
            Some(name.map_err(|fault| ApiError::BadRequest(format!("invalid reference format: {fault}")))?)
        }
    };
    let changes = params.iter().filter(|(key, _)| key == "changes").map(|(_, value)| value.clone());
    let options = ImportOptions {
        image,
        message: text(&params, "message").unwrap_or_default().to_owned(),
        changes: changes.collect(),
        platform: platform(&params)?.unwrap_or_else(Platform::host),
    };
    let id = engine.import_image(feed(body), options).await?;
    let line = format!("{}\r\n", json!({ "status": id.to_string() }));
    Ok(([(CONTENT_TYPE, "application/json")], line).into_response())
}

/// A body as the engine takes an archive: one that breaks off is not taken for a whole one.
fn feed(body: Body) -> mpsc::Receiver<Option<Bytes>> {
    let (pieces, archive) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let mut stream = body.into_data_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.ok();
            let is_broken = piece.is_none();
            if pieces.send(piece).await.is_err() || is_broken {
                return;
            }
        }
    });
    archive
}
