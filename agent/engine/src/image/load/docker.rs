//! The images of an archive as `docker save` wrote it before it wrote layouts, and as many tools still do:
//! `manifest.json` names a configuration and layers by their paths. A manifest is made for each.

use serde::Deserialize;
use serde_json::json;
use std::io::Read;

use crate::content::Digest;
use crate::image::config::{ImageConfig, MAX_CONFIG};
use crate::image::import::add_blob;
use crate::image::lease::Lease;
use crate::image::manifest::{MAX_MANIFEST, OWN_CONFIG, OWN_LAYER, OWN_MANIFEST};
use crate::image::{Inner, PullError, Reference};

use super::archive::Files;
use super::{Root, join};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images.
///
/// # Errors
/// When there is no `manifest.json`, or it names what is not there.
pub(super) fn roots(inner: &Inner, files: &Files, lease: &Lease) -> Result<Vec<Root>, PullError> {
    let bytes = files.read(inner, "manifest.json", MAX_MANIFEST)?.ok_or_else(|| {
        refuse(
            "it holds neither index.json nor manifest.json; `ctl image import` takes file systems".to_owned(),
        )
    })?;
    let entries: Vec<Entry> = serde_json::from_slice(&bytes)
        .map_err(|fault| refuse(format!("its manifest.json does not parse: {fault}")))?;
    let mut found = Vec::new();
    for entry in &entries {
        let digest = manifest(inner, files, entry, lease)?;
        let mut names = Vec::new();
        for tag in entry.repo_tags.iter().flatten() {
            names.push(tag.parse::<Reference>().map_err(|fault| refuse(fault.to_string()))?);
        }
        if names.is_empty() {
            found.push((digest, None));
        } else {
            found.extend(names.into_iter().map(|name| (digest.clone(), Some(name))));
        }
    }
    if found.is_empty() {
        Err(refuse("its manifest.json names no images".to_owned()))
    } else {
        Ok(join(found))
    }
}

fn manifest(inner: &Inner, files: &Files, entry: &Entry, lease: &Lease) -> Result<Digest, PullError> {
    let absent = |name: &str| refuse(format!("its manifest.json names {name:.200}, which is not in it"));
    let (config, config_size) = files.get(&entry.config).ok_or_else(|| absent(&entry.config))?;
    let bytes = files.read(inner, &entry.config, MAX_CONFIG)?.ok_or_else(|| absent(&entry.config))?;
    let (_, diff_ids) = ImageConfig::parse(&bytes).map_err(refuse)?;
    let paths = entry.layers.as_deref().unwrap_or_default();
    if paths.len() != diff_ids.len() {
        let (layers, named) = (paths.len(), diff_ids.len());
        return Err(refuse(format!("its manifest.json has {layers} layers, the configuration {named}")));
    }
    let mut layers = Vec::new();
    for (path, diff_id) in paths.iter().zip(&diff_ids) {
        let (digest, size) = files.get(path).ok_or_else(|| absent(path))?;
        let media_type = layer_type(inner, digest)?;
        if media_type == OWN_LAYER && digest != diff_id {
            return Err(PullError::WrongLayer {
                layer: digest.clone(),
                expected: diff_id.clone(),
                actual: digest.clone(),
            });
        }
        layers.push(json!({"mediaType": media_type, "digest": digest.to_string(), "size": size}));
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OWN_MANIFEST,
        "config": {"mediaType": OWN_CONFIG, "digest": config.to_string(), "size": config_size},
        "layers": layers,
    });
    add_blob(inner.content.as_ref(), manifest.to_string().as_bytes(), lease)
}

/// The type of a layer by its first bytes.
fn layer_type(inner: &Inner, digest: &Digest) -> Result<&'static str, PullError> {
    let mut start = [0; 4];
    let read = inner.content.open_blob(digest)?.read_exact(&mut start);
    Ok(match (read, start) {
        (Ok(()), [0x1f, 0x8b, ..]) => "application/vnd.oci.image.layer.v1.tar+gzip",
        (Ok(()), [0x28, 0xb5, 0x2f, 0xfd]) => "application/vnd.oci.image.layer.v1.tar+zstd",
        _ => OWN_LAYER,
    })
}

fn refuse(reason: String) -> PullError {
    PullError::Archive { reason }
}
