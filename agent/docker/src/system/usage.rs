//! `/system/df`: what images, containers and volumes take of the disk.

use agent_engine::Engine;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::{container, image};

/// `GET /system/df`.
pub(crate) async fn df(State(engine): State<Engine>) -> Result<Json<Value>, ApiError> {
    let usage = engine.disk_usage().await?;
    let images: Vec<Value> = usage
        .images
        .images
        .iter()
        .map(|one| {
            let mut row = image::row(&one.image);
            row["Size"] = json!(one.bytes);
            row["VirtualSize"] = json!(one.bytes);
            row["SharedSize"] = json!(one.shared_bytes);
            row["Containers"] = json!(one.users.len());
            row
        })
        .collect();
    let volumes: Vec<Value> = usage
        .volumes
        .iter()
        .map(|(found, bytes)| {
            let volume = &found.volume;
            let made = i64::try_from(volume.created_at_ms).unwrap_or_default();
            json!({
                "Name": volume.name,
                "Driver": "local",
                "Mountpoint": volume.mountpoint,
                "CreatedAt": jiff::Timestamp::from_millisecond(made).unwrap_or_default().to_string(),
                "Labels": volume.labels,
                "Options": volume.options,
                "Scope": "local",
                "UsageData": { "Size": bytes, "RefCount": found.containers.len() },
            })
        })
        .collect();
    Ok(Json(json!({
        "LayersSize": usage.images.bytes,
        "Images": images,
        "Containers": container::with_sizes(&engine, &usage.containers).await,
        "Volumes": volumes,
        "BuildCache": [],
        "BuilderSize": 0,
    })))
}
