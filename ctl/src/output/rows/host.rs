//! Images as `ctl` prints them.

use std::collections::BTreeMap;

use proto::v1;
use proto::v1::image_variant::Kind;
use serde::Serialize;
use serde_json::Value;

use super::{Row, bytes, short_image};
use crate::output::shape::Named;
use crate::output::time;

/// What stands for a name that is not there, as in Docker.
const NONE: &str = "<none>";

/// The first 12 digits of a digest, for people.
pub fn short_digest(digest: &str) -> String {
    digest.split(':').next_back().unwrap_or(digest).chars().take(12).collect()
}

/// An image of this host, under one of its names.
#[derive(Debug, Serialize)]
pub struct ImageRow {
    name: String,
    /// Of the manifest that is run here.
    digest: String,
    id: String,
    /// The name that pins it.
    pin: String,
    platform: String,
    runnable: bool,
    labels: BTreeMap<String, String>,
    size_bytes: u64,
    created_at: String,
    #[serde(skip)]
    shown_id: String,
    #[serde(skip)]
    age: String,
}

impl ImageRow {
    /// A row for each name, one for an image without any.
    pub fn of(image: &v1::Image, is_full: bool) -> Vec<Self> {
        let names = match image.names.as_slice() {
            [] => vec![NONE.to_owned()],
            names => names.iter().map(|name| short_image(name)).collect(),
        };
        let row = |name: String| {
            let repository = repository(&name);
            let pin = image.digests.iter().find(|pin| short_image(pin).split('@').next() == Some(repository));
            Self {
                pin: pin.map(|pin| short_image(pin)).unwrap_or_default(),
                name,
                digest: image.digest.clone(),
                id: image.id.clone(),
                platform: image.platform.clone(),
                runnable: image.runnable,
                labels: image.labels.clone().into_iter().collect(),
                size_bytes: image.size_bytes,
                created_at: time::rfc3339(image.created_at_ms),
                shown_id: if is_full { image.id.clone() } else { short_digest(&image.id) },
                age: time::age(image.created_at_ms, time::now_ms()),
            }
        };
        names.into_iter().map(row).collect()
    }
}

/// A name without tag and digest.
fn repository(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    match name.get(last..).and_then(|part| part.find(':')) {
        Some(colon) => &name[..last + colon],
        None => name,
    }
}

impl Row for ImageRow {
    fn headings() -> Vec<&'static str> {
        vec!["NAME", "ID", "CREATED", "SIZE"]
    }
    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.shown_id.clone(), self.age.clone(), bytes(self.size_bytes)]
    }
}

impl Named for ImageRow {
    fn fields(&self) -> Vec<(&'static str, &'static str, Value)> {
        let repository = repository(&self.name);
        let rest = self.name.get(repository.len()..).unwrap_or_default();
        let tag = rest.strip_prefix(':').and_then(|tag| tag.split('@').next()).unwrap_or(NONE);
        let digest = self.pin.split('@').nth(1).unwrap_or(NONE);
        let labels = serde_json::to_value(&self.labels).unwrap_or_default();
        vec![
            ("ID", "IMAGE ID", self.shown_id.clone().into()),
            ("Repository", "REPOSITORY", repository.into()),
            ("Tag", "TAG", tag.into()),
            ("Digest", "DIGEST", digest.into()),
            ("CreatedSince", "CREATED", self.age.clone().into()),
            ("CreatedAt", "CREATED AT", self.created_at.clone().into()),
            ("Size", "SIZE", bytes(self.size_bytes).into()),
            ("Platform", "PLATFORM", self.platform.clone().into()),
            ("Labels", "LABELS", super::named::listed(&labels).into()),
            ("Label", "LABEL", labels),
        ]
    }
}

/// The same with its digest.
#[derive(Debug, Serialize)]
pub struct DigestRow(pub ImageRow);

impl Row for DigestRow {
    fn headings() -> Vec<&'static str> {
        vec!["NAME", "DIGEST", "ID", "CREATED", "SIZE"]
    }
    fn cells(&self) -> Vec<String> {
        let digest = self.0.pin.split('@').nth(1).unwrap_or(NONE).to_owned();
        let mut cells = self.0.cells();
        cells.insert(1, digest);
        cells
    }
}

/// An image, or a manifest of it.
#[derive(Debug, Serialize)]
pub struct VariantRow {
    /// Of an image, its names.
    names: Vec<String>,
    platform: String,
    kind: &'static str,
    digest: String,
    here: bool,
    size_bytes: u64,
    unpacked_bytes: u64,
    #[serde(skip)]
    shown: String,
    #[serde(skip)]
    shown_id: String,
}

impl VariantRow {
    /// The image, then its manifests.
    pub fn of(image: &v1::Image, is_full: bool) -> Vec<Self> {
        let id = |digest: &str| if is_full { digest.to_owned() } else { short_digest(digest) };
        let names: Vec<String> = image.names.iter().map(|name| short_image(name)).collect();
        let shown = if names.is_empty() { NONE.to_owned() } else { names.join(", ") };
        let variants = &image.variants;
        let mut rows = vec![Self {
            names,
            platform: image.platform.clone(),
            kind: "image",
            digest: image.id.clone(),
            here: variants.iter().any(|variant| variant.here),
            size_bytes: variants.iter().map(|variant| variant.bytes).sum(),
            unpacked_bytes: variants.iter().map(|variant| variant.unpacked_bytes).sum(),
            shown,
            shown_id: id(&image.id),
        }];
        for (index, variant) in variants.iter().enumerate() {
            let branch = if index + 1 == variants.len() { "└─" } else { "├─" };
            let what = match variant.kind() {
                Kind::Image if variant.platform.is_empty() => "any platform".to_owned(),
                Kind::Image => variant.platform.clone(),
                Kind::Attestation => format!("attestation of {}", short_digest(&variant.about)),
                Kind::Artifact => "artifact".to_owned(),
            };
            rows.push(Self {
                names: Vec::new(),
                platform: variant.platform.clone(),
                kind: match variant.kind() {
                    Kind::Image => "platform",
                    Kind::Attestation => "attestation",
                    Kind::Artifact => "artifact",
                },
                digest: variant.digest.clone(),
                here: variant.here,
                size_bytes: variant.bytes,
                unpacked_bytes: variant.unpacked_bytes,
                shown: format!("{branch} {what}"),
                shown_id: id(&variant.digest),
            });
        }
        rows
    }
}

impl Row for VariantRow {
    fn headings() -> Vec<&'static str> {
        vec!["IMAGE", "ID", "HERE", "SIZE", "UNPACKED"]
    }
    fn cells(&self) -> Vec<String> {
        let size = |count: u64| if count == 0 { "-".to_owned() } else { bytes(count) };
        let here = if self.here { "yes" } else { "no" };
        vec![
            self.shown.clone(),
            self.shown_id.clone(),
            here.to_owned(),
            size(self.size_bytes),
            size(self.unpacked_bytes),
        ]
    }
}

/// A step of how an image was made.
#[derive(Debug, Serialize)]
pub struct HistoryRow {
    created: String,
    created_by: String,
    comment: String,
    size_bytes: u64,
    layer: String,
    #[serde(skip)]
    is_full: bool,
}

/// Letters of a step that are shown.
const STEP: usize = 60;

impl HistoryRow {
    /// A row for people, or with everything in full.
    pub fn of(line: v1::ImageHistoryLine, is_full: bool) -> Self {
        Self {
            created: line.created,
            created_by: line.created_by,
            comment: line.comment,
            size_bytes: line.size_bytes,
            layer: line.layer,
            is_full,
        }
    }
}

impl Row for HistoryRow {
    fn headings() -> Vec<&'static str> {
        vec!["CREATED", "CREATED BY", "SIZE", "COMMENT"]
    }
    fn cells(&self) -> Vec<String> {
        let by: String = self.created_by.split_whitespace().collect::<Vec<_>>().join(" ");
        let by = match by.char_indices().nth(STEP) {
            Some((end, _)) if !self.is_full => format!("{}…", &by[..end]),
            _ => by,
        };
        vec![self.created.clone(), by, bytes(self.size_bytes), self.comment.clone()]
    }
}

impl Named for HistoryRow {
    fn fields(&self) -> Vec<(&'static str, &'static str, Value)> {
        vec![
            ("ID", "IMAGE", short_digest(&self.layer).into()),
            ("CreatedAt", "CREATED AT", self.created.clone().into()),
            ("CreatedBy", "CREATED BY", self.created_by.clone().into()),
            ("Size", "SIZE", bytes(self.size_bytes).into()),
            ("Comment", "COMMENT", self.comment.clone().into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_name_without_its_version() {
        for (name, expected) in [
            ("alpine:3", "alpine"),
            ("localhost:5000/a/b:1", "localhost:5000/a/b"),
            ("localhost:5000/a@sha256:00", "localhost:5000/a"),
            ("localhost:5000/a", "localhost:5000/a"),
        ] {
            assert_eq!(repository(name), expected);
        }
    }

    #[test]
    fn an_image_has_a_row_for_each_name_and_a_branch_for_each_manifest() {
        let variant = |platform: &str, here| v1::ImageVariant {
            platform: platform.to_owned(),
            digest: format!("sha256:{}", "ab".repeat(32)),
            here,
            bytes: if here { 1024 } else { 0 },
            ..v1::ImageVariant::default()
        };
        let image = v1::Image {
            id: format!("sha256:{}", "cd".repeat(32)),
            names: vec!["a:1".to_owned(), "b:2".to_owned()],
            digests: vec!["a@sha256:cd".to_owned()],
            variants: vec![variant("linux/amd64", true), variant("linux/arm64", false)],
            ..v1::Image::default()
        };
        let rows = ImageRow::of(&image, false);
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["a:1", "b:2"]);
        assert_eq!((rows[0].pin.as_str(), rows[1].pin.as_str()), ("a@sha256:cd", ""));
        let tree: Vec<String> =
            VariantRow::of(&image, false).iter().map(|row| row.cells().join(" ")).collect();
        assert_eq!(
            tree,
            [
                "a:1, b:2 cdcdcdcdcdcd yes 1.00 KiB -",
                "├─ linux/amd64 abababababab yes 1.00 KiB -",
                "└─ linux/arm64 abababababab no - -",
            ]
        );
        let nameless = v1::Image { names: Vec::new(), ..image };
        assert_eq!(ImageRow::of(&nameless, false)[0].name, "<none>");
    }
}
