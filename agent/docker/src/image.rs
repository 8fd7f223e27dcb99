//! `/images`: the list, and removing what is not used; one image is [`one`], archives are [`archive`]. As with Docker's own content store, an image's id is the digest of what its names stand for:
//! of an index, or of a manifest.

use agent_engine::Engine;
use agent_engine::image::{ImageFilter, ImageSummary, Reference, Removal};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::query::{Filters, Params, moment_ms};

pub(crate) mod archive;
pub(crate) mod one;

const KNOWN: [&str; 7] = ["before", "dangling", "label", "label!", "reference", "since", "until"];

/// `GET /images/json`: one row for each id, with all its names.
pub(crate) async fn list(State(engine): State<Engine>, params: Params) -> Result<Json<Value>, ApiError> {
    let filter = filter(&params)?;
    let images = engine.images().summaries(&filter, false).await?;
    Ok(Json(images.iter().map(row).collect()))
}

/// What a list or a prune is to be reduced to.
fn filter(params: &Params) -> Result<ImageFilter, ApiError> {
    let filters = Filters::of(params, &KNOWN, &[])?;
    let last = |name: &str| filters.values(name).last().cloned();
    let until_ms = match last("until") {
        Some(text) => Some(
            moment_ms(&text)
                .map_err(|rule| ApiError::BadRequest(format!("invalid filter 'until={text}': {rule}")))?,
        ),
        None => None,
    };
    Ok(ImageFilter {
        dangling: filters.boolean("dangling")?,
        references: filters.values("reference").to_vec(),
        labels: filters.values("label").to_vec(),
        without_labels: filters.values("label!").to_vec(),
        before: last("before"),
        since: last("since"),
        until_ms,
    })
}

/// `POST /images/prune`: without a word about it, only images without a name.
pub(crate) async fn prune(State(engine): State<Engine>, params: Params) -> Result<Json<Value>, ApiError> {
    let mut filter = filter(&params)?;
    let all = filter.dangling.take() == Some(false);
    let (removed, reclaimed) = engine.prune_images(all, filter).await?;
    let deleted = if removed.is_empty() { Value::Null } else { removals(removed) };
    Ok(Json(json!({ "ImagesDeleted": deleted, "SpaceReclaimed": reclaimed.bytes() })))
}

/// What is gone, a line for each name and image.
fn removals(done: Vec<Removal>) -> Value {
    done.into_iter()
        .map(|removal| match removal {
            Removal::Untagged(name) => json!({ "Untagged": name.to_string() }),
            Removal::Deleted(id) => json!({ "Deleted": id.to_string() }),
        })
        .collect()
}

/// An image as lists show it.
pub(crate) fn row(image: &ImageSummary) -> Value {
    let (tags, digests) = names(image);
    json!({
        "Id": image.id.to_string(),
        "ParentId": "",
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": image.created_at_ms / 1000,
        "Size": image.size,
        "VirtualSize": image.size,
        "SharedSize": -1,
        "Labels": if image.labels.is_empty() { Value::Null } else { json!(image.labels) },
        "Containers": -1,
    })
}

/// `RepoTags` and `RepoDigests`. A name with a digest is known by that alone.
fn names(image: &ImageSummary) -> (Vec<String>, Vec<String>) {
    let tag = |name: &Reference| {
        let tag = name.tag().filter(|_| name.digest().is_none())?;
        Some(format!("{}:{tag}", name.familiar_repository()))
    };
    let mut digests: Vec<String> =
        image.names.iter().map(|name| format!("{}@{}", name.familiar_repository(), image.id)).collect();
    digests.dedup();
    (image.names.iter().filter_map(tag).collect(), digests)
}
