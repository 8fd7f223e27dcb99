//! `/images/{name}/...`: one image. Names hold slashes, so what is asked of it is the last part of the path.

use agent_engine::Engine;
use agent_engine::image::{Description, Platform};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{names, removals};
use crate::error::ApiError;
use crate::query::{Params, flag, text};

/// `GET /images/{name}/json`, `/history` and `/get`.
pub(crate) async fn get(
    State(engine): State<Engine>,
    Path(path): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    match path.rsplit_once('/') {
        Some((name, "json")) => {
            let found = engine.images().describe(name, platform(&params)?.as_ref()).await?;
            Ok(Json(inspected(&found)).into_response())
        }
        Some((name, "history")) => history(&engine, name, platform(&params)?.as_ref()).await,
        Some((name, "get")) => super::archive::save(&engine, &[name.to_owned()], platform(&params)?).await,
        _ => Err(ApiError::NoSuchPage),
    }
}

/// `POST /images/{name}/tag` and `/push`.
pub(crate) async fn post(
    State(engine): State<Engine>,
    Path(path): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name = match path.rsplit_once('/') {
        Some((name, "tag")) => name,
        Some((name, "push")) => return crate::transfer::push(engine, name, &params, &headers).await,
        _ => return Err(ApiError::NoSuchPage),
    };
    let repository = text(&params, "repo").unwrap_or_default();
    let tag = text(&params, "tag").filter(|tag| !tag.is_empty()).unwrap_or("latest");
    let wanted = format!("{repository}:{tag}").parse();
    let wanted =
        wanted.map_err(|fault| ApiError::BadRequest(format!("invalid reference format: {fault}")))?;
    engine.images().tag(name, &wanted).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// `DELETE /images/{name}`.
pub(crate) async fn delete(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let done = engine.remove_image(&name, flag(&params, "force")).await?;
    Ok(Json(removals(done)))
}

/// The parameter `platform`, which is JSON here, or text.
pub(crate) fn platform(params: &Params) -> Result<Option<Platform>, ApiError> {
    let Some(given) = text(params, "platform").filter(|text| !text.is_empty()) else { return Ok(None) };
    let parsed = match given.starts_with('{') {
        true => serde_json::from_str(given).map_err(|fault| fault.to_string()),
        false => given.parse::<Platform>().map_err(|fault| fault.to_string()),
    };
    parsed.map(Some).map_err(|fault| ApiError::BadRequest(format!("invalid platform: {fault}")))
}

fn inspected(found: &Description) -> Value {
    let (tags, digests) = names(&found.summary);
    let config = &found.config;
    let platform = found.platform.clone().unwrap_or_default();
    let text = |key: &str| config.get(key).cloned().unwrap_or_else(|| json!(""));
    let named = i64::try_from(found.summary.named_at_ms).unwrap_or_default();
    let named = jiff::Timestamp::from_millisecond(named).unwrap_or_default().to_string();
    json!({
        "Id": found.summary.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": "",
        "Created": text("created"),
        "DockerVersion": "",
        "Author": text("author"),
        "Config": config.get("config").cloned().unwrap_or_else(|| json!({})),
        "Architecture": platform.architecture,
        "Variant": platform.variant,
        "Os": platform.os,
        "Size": found.size,
        "VirtualSize": found.size,
        "GraphDriver": { "Name": "overlayfs", "Data": Value::Null },
        "RootFS": {
            "Type": "layers",
            "Layers": found.layers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "Metadata": { "LastTagTime": named },
    })
}

async fn history(engine: &Engine, name: &str, platform: Option<&Platform>) -> Result<Response, ApiError> {
    let found = engine.images().find(name).await?;
    let lines = engine.images().history(name, platform).await?;
    let row = |(index, line): (usize, agent_engine::image::HistoryLine)| {
        let created = line.created.parse::<jiff::Timestamp>().map_or(0, |moment| moment.as_second());
        json!({
            "Id": if index == 0 { found.id.to_string() } else { "<missing>".to_owned() },
            "Created": created,
            "CreatedBy": line.created_by,
            "Tags": Value::Null,
            "Size": line.size,
            "Comment": line.comment,
        })
    };
    Ok(Json(lines.into_iter().enumerate().map(row).collect::<Value>()).into_response())
}
