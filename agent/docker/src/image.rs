//! `/images`: the list. As with Docker's own content store, an image's id is the
//! digest of its manifest, so containers and images agree on it.

use std::collections::BTreeMap;

use agent_engine::Engine;
use agent_engine::image::{Image, Reference};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::query::{Filters, Params};

mod pattern;

const KNOWN: [&str; 3] = ["dangling", "label", "reference"];
/// Docker has them too.
const LATER: [&str; 3] = ["before", "since", "until"];

/// `GET /images/json`: one row for each id, with all its names.
pub(crate) async fn list(State(engine): State<Engine>, params: Params) -> Result<Json<Value>, ApiError> {
    let filters = Filters::of(&params, &KNOWN, &LATER)?;
    // Every image here has a name, or it would not be kept.
    let dangling = filters.boolean("dangling")?.unwrap_or(false);
    let images = engine.images().list().await?;
    let mut rows: BTreeMap<String, Vec<Image>> = BTreeMap::new();
    for image in images.into_iter().filter(|image| !dangling && is_wanted(image, &filters)) {
        rows.entry(image.manifest_digest.to_string()).or_default().push(image);
    }
    let mut rows: Vec<Value> = rows.into_iter().filter_map(|(id, names)| row(&id, &names)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row["Created"].as_u64()));
    Ok(Json(Value::Array(rows)))
}

fn is_wanted(image: &Image, filters: &Filters) -> bool {
    let name = &image.name;
    let familiar = repository(name);
    let tagged = name.tag().map_or_else(|| name.to_string(), |tag| format!("{familiar}:{tag}"));
    filters.admits("reference", |wanted| {
        pattern::matches(wanted, &tagged) || pattern::matches(wanted, &familiar)
    }) && filters.admits_labels(&image.config.labels)
}

fn row(id: &str, names: &[Image]) -> Option<Value> {
    let image = names.first()?;
    let labels = &image.config.labels;
    let tag = |image: &Image| {
        // A name with a digest is known by that alone.
        let tag = image.name.tag().filter(|_| image.name.digest().is_none())?;
        Some(format!("{}:{tag}", repository(&image.name)))
    };
    let mut digests: Vec<String> =
        names.iter().map(|image| format!("{}@{id}", repository(&image.name))).collect();
    digests.dedup();
    Some(json!({
        "Id": id,
        "ParentId": "",
        "RepoTags": names.iter().filter_map(tag).collect::<Vec<_>>(),
        "RepoDigests": digests,
        "Created": image.created_at_ms / 1000,
        "Size": image.size,
        "VirtualSize": image.size,
        "SharedSize": -1,
        "Labels": if labels.is_empty() { Value::Null } else { json!(labels) },
        "Containers": -1,
    }))
}

/// The name as people write it, without tag and digest.
fn repository(name: &Reference) -> String {
    let text = name.to_string();
    let text = text.split('@').next().unwrap_or_default();
    let tag = name.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    text.strip_suffix(&tag).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_name_without_its_version() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (name, expected) in [
            ("alpine", "alpine"),
            ("docker.io/library/alpine:3", "alpine"),
            ("localhost:5000/a/b:1", "localhost:5000/a/b"),
            (&format!("localhost:5000/a@{digest}"), "localhost:5000/a"),
            (&format!("roadstead/hello:1@{digest}"), "roadstead/hello"),
        ] {
            assert_eq!(repository(&name.parse().unwrap()), expected, "{name}");
        }
    }
}
