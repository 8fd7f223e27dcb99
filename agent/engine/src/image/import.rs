//! Makes an image out of layers in memory: how the embedded image comes to the host without a registry.
//!
//! The result is a function of the input: layers stay uncompressed, documents are written with their keys in order, and
//! nothing says when it was made. So a second import finds everything there and does nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::content::{ContentStore, Digest, Expected};
use crate::snapshot::DiffId;

use super::config::{ImageConfig, MAX_CONFIG};
use super::lease::Lease;
use super::manifest::{OWN_CONFIG, OWN_LAYER, OWN_MANIFEST, host_architecture};
use super::store::{ImageRecord, Origin};
use super::unpack::unpack;
use super::{Image, Inner, PullError, Reference};

pub(super) async fn import(
    inner: &Arc<Inner>,
    name: &Reference,
    layers: Vec<Vec<u8>>,
    config: Value,
) -> Result<Image, PullError> {
    let (worker, reference) = (Arc::clone(inner), name.clone());
    let lease = inner.leases.begin();
    let built = tokio::task::spawn_blocking(move || {
        let record = build(&worker, &reference, &layers, config, &lease);
        (record, lease)
    });
    let (record, _lease) = built.await?;
    let record = record?;
    if let Some(image) = inner.store.get(name).await?
        && image.manifest_digest == record.manifest
    {
        return Ok(image);
    }
    let _writing = inner.store.exclusively().await;
    // A newer version of what is part of the program replaces the older one.
    let record = inner.store.put_locked(record, false).await?;
    inner.store.load(name.clone(), record).await
}

fn build(
    inner: &Inner,
    name: &Reference,
    layers: &[Vec<u8>],
    mut config: Value,
    lease: &Lease,
) -> Result<ImageRecord, PullError> {
    let refuse = |reason: String| PullError::Import { image: name.to_string(), reason };
    let mut diff_ids = Vec::new();
    let mut descriptors = Vec::new();
    for bytes in layers {
        let diff_id = add_layer(inner, bytes, lease)?;
        descriptors.push(json!({"mediaType": OWN_LAYER, "digest": diff_id.to_string(), "size": bytes.len()}));
        diff_ids.push(diff_id);
    }
    let fields =
        config.as_object_mut().ok_or_else(|| refuse("its configuration is not a JSON object".into()))?;
    fields.entry("architecture").or_insert_with(|| host_architecture().into());
    fields.entry("os").or_insert_with(|| "linux".into());
    let names: Vec<String> = diff_ids.iter().map(ToString::to_string).collect();
    fields.insert("rootfs".into(), json!({"type": "layers", "diff_ids": names}));
    let config = config.to_string().into_bytes();
    if config.len() as u64 > MAX_CONFIG {
        return Err(refuse(format!("its configuration is longer than {MAX_CONFIG} bytes")));
    }
    let (parsed, _) = ImageConfig::parse(&config).map_err(refuse)?;
    let config_digest = add_blob(inner.content.as_ref(), &config, lease)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OWN_MANIFEST,
        "config": {"mediaType": OWN_CONFIG, "digest": config_digest.to_string(), "size": config.len()},
        "layers": descriptors,
    });
    let manifest = manifest.to_string().into_bytes();
    let manifest_digest = add_blob(inner.content.as_ref(), &manifest, lease)?;
    let size = layers.iter().map(Vec::len).sum::<usize>() + config.len() + manifest.len();
    let mut blobs = vec![manifest_digest.clone(), config_digest.clone()];
    blobs.extend(diff_ids.iter().cloned());
    Ok(ImageRecord {
        name: Some(name.clone()),
        target: Some(manifest_digest.clone()),
        manifest: manifest_digest,
        config: config_digest,
        layers: diff_ids,
        blobs,
        size: size as u64,
        created_at_ms: parsed.created_at_ms(),
        unpacked: true,
        origin: Origin::Here,
        named_at_ms: 0,
    })
}

fn add_layer(inner: &Inner, bytes: &[u8], lease: &Lease) -> Result<DiffId, PullError> {
    let diff_id = add_blob(inner.content.as_ref(), bytes, lease)?;
    if !inner.snapshots.has_layer(&diff_id) {
        let incoming = inner.snapshots.begin_layer()?;
        unpack(bytes, incoming.directory(), &inner.limits)
            .map_err(|fault| PullError::Unpack { layer: diff_id.clone(), fault })?;
        incoming.commit(&diff_id)?;
    }
    Ok(diff_id)
}

/// Takes in a blob that is in memory, held by the lease before it is looked for.
pub(super) fn add_blob(content: &dyn ContentStore, bytes: &[u8], lease: &Lease) -> Result<Digest, PullError> {
    let digest = Digest::of(bytes);
    lease.hold(&digest);
    if content.size(&digest)? != Some(bytes.len() as u64) {
        content
            .write_all(bytes, Expected { digest: Some(digest.clone()), size: Some(bytes.len() as u64) })?;
    }
    Ok(digest)
}
