//! A pull: reference -> index -> manifest -> configuration -> layers side by side -> record.
//!
//! Each step trusts only what a digest vouches for; the tag's manifest is the root, and is what the registry says it is.
//! The record is written last. Whatever fails or is dropped before leaves blobs that the next collection takes, and
//! layers that are whole and may serve the next try.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;

use crate::content::{Digest, Expected};
use crate::snapshot::DiffId;

pub(super) use self::layer::Layer;
use self::progress::PullProgress;

use super::config::{ImageConfig, MAX_CONFIG};
use super::lease::Lease;
use super::manifest::{Descriptor, Document, Manifest};
use super::platform::Platform;
use super::registry::{Access, Credentials, Fetched, Wanted};
use super::store::{ImageRecord, Origin};
use super::{Image, Inner, PullError, Reference};

mod layer;
pub(super) mod progress;
pub(super) mod share;
mod take_in;

/// Layers of one image that are fetched and unpacked at the same time.
const SIDE_BY_SIDE: usize = 3;

/// Who hears of a pull's progress.
type Listener<'a> = &'a (dyn Fn(PullProgress) + Send + Sync);

/// How an image is pulled, beyond its name.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Another platform than this host's.
    pub platform: Option<Platform>,
    /// Credentials for the image's registry; without them the host's own are taken.
    pub login: Option<Credentials>,
}

/// A pull that is under way: what, how, and who hears of it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    name: &'a Reference,
    options: &'a PullOptions,
    listener: Listener<'a>,
    /// Hears of waits.
    tell: &'a (dyn Fn(&str, std::time::Duration) + Send + Sync),
}

impl Asked<'_> {
    fn access(&self, mirrors: bool) -> Access<'_> {
        Access { image: self.name, login: self.options.login.as_ref(), mirrors, tell: self.tell }
    }

    fn platform(&self) -> Platform {
        self.options.platform.clone().unwrap_or_else(Platform::host)
    }
}

pub(super) async fn pull(
    inner: &Arc<Inner>,
    name: &Reference,
    options: &PullOptions,
    listener: Listener<'_>,
) -> Result<Image, PullError> {
    let lease = inner.leases.begin();
    if let Some(image) = already(inner, name, options).await? {
        return Ok(image);
    }
    listener(PullProgress::Resolving);
    let tell = |reason: &str, wait| listener(PullProgress::Delayed { reason: reason.to_owned(), wait });
    let asked = Asked { name, options, listener, tell: &tell };
    let (manifest, mut blobs, manifest_size) = resolve(inner, asked, &lease).await?;
    lease.hold(&manifest.config.digest);
    lease.hold_all(manifest.layers.iter().map(|(layer, _)| &layer.digest));
    let (config, diff_ids) = configuration(inner, asked, &manifest.config).await?;
    lease.hold_all(&diff_ids);
    let (layers, named) = (manifest.layers.len(), diff_ids.len());
    if layers != named {
        let reason = format!("its manifest has {layers} layers, its configuration {named}");
        return Err(PullError::Unusable { image: name.to_string(), reason });
    }
    let documents = manifest_size.saturating_add(manifest.config.size);
    let size = manifest.layers.iter().fold(documents, |sum, (layer, _)| sum.saturating_add(layer.size));
    let digest = blobs.last().cloned().ok_or(PullError::Interrupted)?;
    let target = blobs.first().cloned();
    blobs.push(manifest.config.digest.clone());
    blobs.extend(manifest.layers.iter().map(|(layer, _)| layer.digest.clone()));
    let record = ImageRecord {
        name: Some(name.clone()),
        target: target.clone(),
        manifest: digest,
        config: manifest.config.digest,
        layers: diff_ids.clone(),
        blobs,
        size,
        created_at_ms: config.created_at_ms(),
        unpacked: true,
        origin: Origin::Registry,
        named_at_ms: 0,
    };
    let layers = manifest.layers.into_iter().zip(diff_ids);
    let layers = layers.map(|((blob, compression), diff_id)| Layer { blob, compression, diff_id });
    bring_all(inner, asked, layers.collect()).await?;
    let platform = asked.platform();
    let record = match (target, platform == Platform::host()) {
        (Some(target), false) => of_another_platform(inner, name, target, &platform).await?,
        _ => record,
    };
    let record = inner.store.put(record).await?;
    inner.store.load(name.clone(), record).await
}

/// This host's variant of the same index may be here as well: then the name goes on standing for that.
async fn of_another_platform(
    inner: &Arc<Inner>,
    name: &Reference,
    target: Digest,
    platform: &Platform,
) -> Result<ImageRecord, PullError> {
    let (worker, name, platform) = (Arc::clone(inner), name.clone(), platform.clone());
    tokio::task::spawn_blocking(move || {
        let record = super::variant::describe(&worker, &target, &platform, Origin::Registry)?;
        Ok(ImageRecord { name: Some(name), ..record })
    })
    .await?
}

/// Unpacks a layer whose blob is here. Blocking.
pub(super) fn unpack_stored(inner: &Inner, layer: &Layer) -> Result<(), PullError> {
    take_in::run(inner, layer, take_in::Source::Stored)
}

/// Brings the layers side by side. When one fails the others are stopped, and have cleaned up when this returns.
async fn bring_all(inner: &Arc<Inner>, asked: Asked<'_>, layers: Vec<Layer>) -> Result<(), PullError> {
    // Each worker holds an end of this channel, which closes when the last one has ended.
    let (working, mut ended) = mpsc::channel::<Infallible>(1);
    let started = layers.into_iter().map(|layer| layer::ensure(inner, asked, layer, working.clone()));
    let outcome = futures::stream::iter(started).buffer_unordered(SIDE_BY_SIDE).try_collect::<()>().await;
    drop(working);
    ended.recv().await;
    outcome
}

/// A reference that is pinned by its digest cannot mean anything else later.
async fn already(
    inner: &Arc<Inner>,
    name: &Reference,
    options: &PullOptions,
) -> Result<Option<Image>, PullError> {
    if name.digest().is_none()
        || options.platform.as_ref().is_some_and(|platform| *platform != Platform::host())
    {
        return Ok(None);
    }
    let image = inner.store.get(name).await?;
    Ok(image
        .filter(|image| image.unpacked && image.layers.iter().all(|layer| inner.snapshots.has_layer(layer))))
}

/// Finds the manifest for this platform; answers also the digests on the way, the manifest's last, and its size.
async fn resolve(
    inner: &Arc<Inner>,
    asked: Asked<'_>,
    lease: &Lease,
) -> Result<(Manifest, Vec<Digest>, u64), PullError> {
    let unusable = |reason| PullError::Unusable { image: asked.name.to_string(), reason };
    let mut digests = Vec::new();
    let mut wanted = asked.name.digest().cloned();
    for _ in 0..2 {
        let fetched = inner.registry.manifest(asked.access(true), wanted.as_ref()).await?;
        let called = fetched.content_type.as_deref();
        let document = Document::parse_for(&fetched.bytes, called, &asked.platform()).map_err(unusable)?;
        let size = fetched.bytes.len() as u64;
        let digest = wanted.take().unwrap_or_else(|| Digest::of(&fetched.bytes));
        lease.hold(&digest);
        digests.push(keep(inner, fetched, Some(digest)).await?);
        match document {
            Document::Manifest(manifest) => return Ok((manifest, digests, size)),
            Document::Index(entry) => wanted = Some(entry.digest),
        }
    }
    Err(unusable("its index names another index".into()))
}

async fn keep(inner: &Arc<Inner>, fetched: Fetched, digest: Option<Digest>) -> Result<Digest, PullError> {
    let content = Arc::clone(&inner.content);
    let expected = Expected { digest, size: None };
    Ok(tokio::task::spawn_blocking(move || content.write_all(&fetched.bytes, expected)).await??)
}

/// Fetches the configuration unless it is here, and checks it against manifest and platform.
async fn configuration(
    inner: &Arc<Inner>,
    asked: Asked<'_>,
    blob: &Descriptor,
) -> Result<(ImageConfig, Vec<DiffId>), PullError> {
    let unusable = |reason: String| PullError::Unusable { image: asked.name.to_string(), reason };
    if blob.size > MAX_CONFIG {
        return Err(unusable(format!("its configuration is longer than {MAX_CONFIG} bytes")));
    }
    let (content, digest) = (Arc::clone(&inner.content), blob.digest.clone());
    let present = tokio::task::spawn_blocking(move || content.read_all(&digest, MAX_CONFIG)).await?;
    let bytes = match present {
        Ok(bytes) => bytes,
        Err(_) => match fetch_configuration(inner, asked, blob, true).await {
            Err(PullError::Damaged { .. }) if inner.registry.has_mirrors(asked.name) => {
                fetch_configuration(inner, asked, blob, false).await?
            }
            outcome => outcome?,
        },
    };
    let (config, diff_ids) = ImageConfig::parse(&bytes).map_err(unusable)?;
    let platform = asked.platform();
    for (value, wanted, what) in
        [(&config.os, &platform.os, "system"), (&config.architecture, &platform.architecture, "processor")]
    {
        if !value.is_empty() && value != wanted {
            let reason = match platform == Platform::host() {
                true => format!("it is made for the {what} {value:.20}, this host is {wanted}"),
                false => format!("it is made for the {what} {value:.20}, not for {wanted}"),
            };
            return Err(unusable(reason));
        }
    }
    Ok((config, diff_ids))
}

async fn fetch_configuration(
    inner: &Arc<Inner>,
    asked: Asked<'_>,
    blob: &Descriptor,
    mirrors: bool,
) -> Result<Vec<u8>, PullError> {
    let wanted = Wanted { what: "configuration", digest: &blob.digest, size: blob.size };
    let (sink, mut pieces) = mpsc::channel::<Bytes>(16);
    let gather = async {
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.recv().await {
            bytes.extend_from_slice(&piece);
        }
        bytes
    };
    let fetch = async {
        let outcome = inner.registry.blob(asked.access(mirrors), wanted, &sink, &|_| {}).await;
        drop(sink);
        outcome
    };
    let (outcome, bytes) = futures::join!(fetch, gather);
    outcome?;
    let content = Arc::clone(&inner.content);
    let expected = Expected { digest: Some(blob.digest.clone()), size: Some(blob.size) };
    let (bytes, written) = tokio::task::spawn_blocking(move || {
        let written = content.write_all(&bytes, expected);
        (bytes, written)
    })
    .await?;
    written.map_err(|fault| PullError::arriving("configuration", &blob.digest, fault))?;
    Ok(bytes)
}
