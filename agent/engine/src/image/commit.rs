//! Makes an image out of another one, or of none, and one more layer, which is written as a stream: memory stays
//! bounded, whatever its size. The layer is kept uncompressed, so its digest is its diff id.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::config::{ImageConfig, MAX_CONFIG};
use super::graph;
use super::import::add_blob;
use super::lease::Lease;
use super::manifest::{MAX_MANIFEST, OWN_CONFIG, OWN_LAYER, OWN_MANIFEST, host_architecture};
use super::platform::Platform;
use super::pull::{self, Layer};
use super::store::{ImageRecord, Origin};
use super::{Inner, PullError, Reference};
use crate::content::{Digest, Expected, Ingest};

/// What an image is made of.
#[derive(Debug, Clone)]
pub(crate) struct NewImage {
    /// Its name, if it gets one.
    pub(crate) name: Option<Reference>,
    /// The manifest of the image below, if there is one.
    pub(crate) base: Option<Digest>,
    /// What it is made for, where no image below says it.
    pub(crate) platform: Platform,
    /// When.
    pub(crate) created: jiff::Timestamp,
    /// By whom; may be empty.
    pub(crate) author: String,
    /// What for; may be empty.
    pub(crate) comment: String,
    /// What made the layer, for its history.
    pub(crate) created_by: String,
}

pub(super) async fn commit(
    inner: &Arc<Inner>,
    new: NewImage,
    edit: impl FnOnce(&mut Map<String, Value>) + Send + 'static,
    write: impl FnOnce(&mut dyn Write) -> Result<(), PullError> + Send + 'static,
) -> Result<Digest, PullError> {
    let (worker, lease) = (Arc::clone(inner), inner.leases.begin());
    let built = tokio::task::spawn_blocking(move || {
        let record = build(&worker, &new, edit, write, &lease);
        (record, lease)
    });
    let (record, _lease) = built.await?;
    Ok(inner.store.put(record?).await?.id().clone())
}

fn build(
    inner: &Inner,
    new: &NewImage,
    edit: impl FnOnce(&mut Map<String, Value>),
    write: impl FnOnce(&mut dyn Write) -> Result<(), PullError>,
    lease: &Lease,
) -> Result<ImageRecord, PullError> {
    let name = new.name.as_ref().map_or_else(|| "the image".to_owned(), ToString::to_string);
    let refuse = |reason: String| PullError::Import { image: name.clone(), reason };
    let (mut config, mut layers) = below(inner, new, lease, &refuse)?;
    let mut blobs: Vec<Digest> = Vec::new();
    for layer in &mut layers {
        blobs.push(digest_of(Some(layer)).ok_or_else(|| refuse(NO_DIGEST.to_owned()))?);
        rename_type(layer);
    }
    let (layer, size) = take_in(inner, write, lease)?;
    layers.push(json!({"mediaType": OWN_LAYER, "digest": layer.to_string(), "size": size}));
    blobs.push(layer.clone());
    describe(&mut config, new, &layer, edit).map_err(refuse)?;
    let config = Value::Object(config).to_string().into_bytes();
    let (parsed, diff_ids) = ImageConfig::parse(&config).map_err(refuse)?;
    lease.hold_all(&diff_ids);
    let config_digest = add_blob(inner.content.as_ref(), &config, lease)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OWN_MANIFEST,
        "config": {"mediaType": OWN_CONFIG, "digest": config_digest.to_string(), "size": config.len()},
        "layers": layers,
    });
    let manifest = manifest.to_string().into_bytes();
    let manifest_digest = add_blob(inner.content.as_ref(), &manifest, lease)?;
    let transferred = layers.iter().filter_map(|layer| layer.get("size").and_then(Value::as_u64));
    let size = transferred.sum::<u64>() + config.len() as u64 + manifest.len() as u64;
    blobs.extend([manifest_digest.clone(), config_digest.clone()]);
    Ok(ImageRecord {
        name: new.name.clone(),
        target: Some(manifest_digest.clone()),
        unpacked: parsed.architecture == host_architecture() && parsed.os == "linux",
        origin: Origin::Here,
        named_at_ms: 0,
        manifest: manifest_digest,
        config: config_digest,
        layers: diff_ids,
        blobs,
        size,
        created_at_ms: parsed.created_at_ms(),
    })
}

/// Configuration and layers of the image below, which must be whole.
fn below(
    inner: &Inner,
    new: &NewImage,
    lease: &Lease,
    refuse: &dyn Fn(String) -> PullError,
) -> Result<(Map<String, Value>, Vec<Value>), PullError> {
    let Some(base) = &new.base else {
        let mut config = Map::new();
        config.insert("architecture".to_owned(), new.platform.architecture.clone().into());
        config.insert("os".to_owned(), new.platform.os.clone().into());
        if !new.platform.variant.is_empty() {
            config.insert("variant".to_owned(), new.platform.variant.clone().into());
        }
        config.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": []}));
        return Ok((config, Vec::new()));
    };
    let mut all = BTreeSet::new();
    graph::reach(inner.content.as_ref(), base, &mut all)?;
    lease.hold_all(&all);
    let document = |digest: &Digest, limit| -> Result<Map<String, Value>, PullError> {
        let bytes = inner.content.read_all(digest, limit).map_err(|fault| {
            refuse(format!("the image below is not whole on this host ({fault}): pull it again"))
        })?;
        serde_json::from_slice(&bytes)
            .map_err(|fault| refuse(format!("the image below does not parse: {fault}")))
    };
    let manifest = document(base, MAX_MANIFEST)?;
    let config = digest_of(manifest.get("config")).ok_or_else(|| refuse(NO_DIGEST.to_owned()))?;
    let config = document(&config, MAX_CONFIG)?;
    let layers: Vec<Value> = manifest.get("layers").and_then(Value::as_array).cloned().unwrap_or_default();
    for layer in &layers {
        let digest = digest_of(Some(layer)).ok_or_else(|| refuse(NO_DIGEST.to_owned()))?;
        if inner.content.size(&digest)?.is_none() {
            return Err(refuse(format!(
                "layer {digest} of the image below is not on this host: pull it again"
            )));
        }
    }
    Ok((config, layers))
}

const NO_DIGEST: &str = "the image below names a blob without a digest";

fn digest_of(value: Option<&Value>) -> Option<Digest> {
    value?.get("digest")?.as_str()?.parse().ok()
}

/// An OCI manifest names its layers in OCI's words.
fn rename_type(layer: &mut Value) {
    let renamed = match layer.get("mediaType").and_then(Value::as_str) {
        Some("application/vnd.docker.image.rootfs.diff.tar.gzip") => {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
        Some("application/vnd.docker.image.rootfs.diff.tar") => OWN_LAYER,
        _ => return,
    };
    if let Some(fields) = layer.as_object_mut() {
        fields.insert("mediaType".to_owned(), renamed.into());
    }
}

/// Streams the layer into the content store, then unpacks it from there.
fn take_in(
    inner: &Inner,
    write: impl FnOnce(&mut dyn Write) -> Result<(), PullError>,
    lease: &Lease,
) -> Result<(Digest, u64), PullError> {
    let mut sink = Sink { ingest: inner.content.begin(Expected::default())?, written: 0 };
    {
        let mut buffered = io::BufWriter::with_capacity(256 * 1024, &mut sink);
        write(&mut buffered)?;
        buffered.flush().map_err(|fault| PullError::Import {
            image: String::new(),
            reason: format!("its layer cannot be kept: {fault}"),
        })?;
    }
    let size = sink.written;
    let layer = finish(inner, sink.ingest, lease)?;
    if !inner.snapshots.has_layer(&layer) {
        pull::unpack_stored(inner, &Layer::own(&layer, size))?;
    }
    Ok((layer, size))
}

/// Makes a blob visible whose digest nobody knew before, and holds it before a collection can see it. Blocking.
pub(super) fn finish(inner: &Inner, ingest: Box<dyn Ingest>, lease: &Lease) -> Result<Digest, PullError> {
    let _no_sweep = inner.gate.blocking_read();
    let digest = ingest.finish()?;
    lease.hold(&digest);
    Ok(digest)
}

struct Sink {
    ingest: Box<dyn Ingest>,
    written: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.ingest.write(bytes).map_err(io::Error::other)?;
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Adds the layer to the configuration, and lets `edit` change what a container starts from.
fn describe(
    config: &mut Map<String, Value>,
    new: &NewImage,
    layer: &Digest,
    edit: impl FnOnce(&mut Map<String, Value>),
) -> Result<(), String> {
    let created = new.created.to_string();
    let rootfs = config.get_mut("rootfs").and_then(|rootfs| rootfs.get_mut("diff_ids"));
    let diff_ids = rootfs.and_then(Value::as_array_mut).ok_or("the image below names no layers")?;
    diff_ids.push(layer.to_string().into());
    config.insert("created".to_owned(), created.clone().into());
    config.insert("author".to_owned(), new.author.clone().into());
    let mut line = json!({"created": created, "created_by": new.created_by});
    for (key, value) in [("author", &new.author), ("comment", &new.comment)] {
        if !value.is_empty() {
            line[key] = value.clone().into();
        }
    }
    let history = config.entry("history").or_insert_with(|| json!([]));
    if let Some(history) = history.as_array_mut() {
        history.push(line);
    }
    // What Docker's older builders wrote of the container that made the image below.
    config.remove("container");
    config.remove("container_config");
    let inner = config.entry("config").or_insert_with(|| json!({}));
    if !inner.is_object() {
        *inner = json!({});
    }
    if let Some(inner) = inner.as_object_mut() {
        edit(inner);
    }
    Ok(())
}
