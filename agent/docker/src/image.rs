//! `/images`: the list.

use agent_engine::Engine;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::error::ApiError;

/// `GET /images/json`.
pub(crate) async fn list(State(engine): State<Engine>) -> Result<Json<Value>, ApiError> {
    let images = engine.images().list().await?;
    let rows = images.into_iter().map(|image| {
        json!({
            "Id": image.config_digest.to_string(),
            "ParentId": "",
            "RepoTags": [image.name.to_string()],
            "RepoDigests": [],
            "Created": image.created_at_ms / 1000,
            "Size": image.size,
            "SharedSize": -1,
            "Labels": Value::Null,
            "Containers": -1,
        })
    });
    Ok(Json(rows.collect()))
}
