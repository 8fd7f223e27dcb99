//! Makes an image out of another one and one more layer, which is written as a stream: memory stays bounded, whatever
//! its size. The layer is kept uncompressed, so its digest is its diff id.

use std::io::{self, BufReader, Write};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::config::{ImageConfig, MAX_CONFIG};
use super::import::add_blob;
use super::manifest::{MAX_MANIFEST, OWN_CONFIG, OWN_LAYER, OWN_MANIFEST};
use super::store::ImageRecord;
use super::unpack::unpack;
use super::{Image, Inner, PullError, Reference};
use crate::content::{Digest, Expected, Ingest};

/// What an image is made of.
#[derive(Debug, Clone)]
pub(crate) struct NewImage {
    /// Its name.
    pub(crate) name: Reference,
    /// The manifest of the image below.
    pub(crate) base: Digest,
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
) -> Result<Image, PullError> {
    let worker = Arc::clone(inner);
    let record = tokio::task::spawn_blocking(move || build(&worker, &new, edit, write)).await??;
    inner.store.put(record).await
}

fn build(
    inner: &Inner,
    new: &NewImage,
    edit: impl FnOnce(&mut Map<String, Value>),
    write: impl FnOnce(&mut dyn Write) -> Result<(), PullError>,
) -> Result<ImageRecord, PullError> {
    let refuse = |reason: String| PullError::Import { image: new.name.to_string(), reason };
    let document = |digest: &Digest, limit| -> Result<Map<String, Value>, PullError> {
        let bytes = inner.content.read_all(digest, limit).map_err(|fault| {
            refuse(format!("the image below is not whole on this host ({fault}): pull it again"))
        })?;
        serde_json::from_slice(&bytes)
            .map_err(|fault| refuse(format!("the image below does not parse: {fault}")))
    };
    let below = document(&new.base, MAX_MANIFEST)?;
    let digest_of = |value: Option<&Value>| -> Result<Digest, PullError> {
        let text = value.and_then(|value| value.get("digest")).and_then(Value::as_str).unwrap_or_default();
        text.parse().map_err(|_| refuse("the image below names a blob without a digest".to_owned()))
    };
    let mut config = document(&digest_of(below.get("config"))?, MAX_CONFIG)?;
    let mut layers: Vec<Value> = below.get("layers").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut blobs = Vec::new();
    for layer in &mut layers {
        let digest = digest_of(Some(layer))?;
        if inner.content.size(&digest)?.is_none() {
            return Err(refuse(format!(
                "layer {digest} of the image below is not on this host: pull it again"
            )));
        }
        blobs.push(digest);
        rename_type(layer);
    }
    let (layer, size) = take_in(inner, write)?;
    layers.push(json!({"mediaType": OWN_LAYER, "digest": layer.to_string(), "size": size}));
    blobs.push(layer.clone());
    describe(&mut config, new, &layer, edit).map_err(refuse)?;
    let config = Value::Object(config).to_string().into_bytes();
    let (parsed, diff_ids) = ImageConfig::parse(&config).map_err(refuse)?;
    let config_digest = add_blob(inner.content.as_ref(), &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OWN_MANIFEST,
        "config": {"mediaType": OWN_CONFIG, "digest": config_digest.to_string(), "size": config.len()},
        "layers": layers,
    });
    let manifest = manifest.to_string().into_bytes();
    let manifest_digest = add_blob(inner.content.as_ref(), &manifest)?;
    let transferred = layers.iter().filter_map(|layer| layer.get("size").and_then(Value::as_u64));
    let size = transferred.sum::<u64>() + config.len() as u64 + manifest.len() as u64;
    blobs.extend([manifest_digest.clone(), config_digest.clone()]);
    Ok(ImageRecord {
        name: new.name.clone(),
        manifest: manifest_digest,
        config: config_digest,
        layers: diff_ids,
        blobs,
        size,
        created_at_ms: parsed.created_at_ms(),
    })
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
    let layer = sink.ingest.finish()?;
    if !inner.snapshots.has_layer(&layer) {
        let incoming = inner.snapshots.begin_layer()?;
        let source = BufReader::with_capacity(256 * 1024, inner.content.open_blob(&layer)?);
        unpack(source, incoming.directory(), &inner.limits)
            .map_err(|fault| PullError::Unpack { layer: layer.clone(), fault })?;
        incoming.commit(&layer)?;
    }
    Ok((layer, size))
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
