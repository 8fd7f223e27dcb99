//! One layer of a pull: present, or fetched and taken in at the same time.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::image::manifest::{Compression, Descriptor};
use crate::image::registry::Wanted;
use crate::image::{Inner, PullError, Reference};
use crate::snapshot::DiffId;

use super::Listener;
use super::progress::{LayerStep, PullProgress};
use super::take_in::{self, Source};

/// Pieces of the network that may wait for the disk.
const WAITING: usize = 32;

/// Held by whoever works on a layer; a thread goes on for a moment when its pull is dropped.
pub(super) type Working = mpsc::Sender<Infallible>;

/// A layer as manifest and configuration describe it together.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) blob: Descriptor,
    pub(super) compression: Compression,
    pub(super) diff_id: DiffId,
}

/// Makes sure that a layer is here.
pub(super) async fn ensure(
    inner: &Arc<Inner>,
    name: &Reference,
    layer: Layer,
    working: Working,
    listener: Listener<'_>,
) -> Result<(), PullError> {
    let digest = layer.blob.digest.clone();
    let tell = |step| listener(PullProgress::Layer { digest: digest.clone(), step });
    tell(LayerStep::Waiting);
    if !inner.snapshots.has_layer(&layer.diff_id) {
        let key = layer.diff_id.to_string();
        inner.layers.run(&key, Box::pin(bring(inner, name, layer, working, &tell))).await?;
    }
    tell(LayerStep::Done);
    Ok(())
}

async fn bring(
    inner: &Arc<Inner>,
    name: &Reference,
    layer: Layer,
    working: Working,
    tell: &(dyn Fn(LayerStep) + Send + Sync),
) -> Result<(), PullError> {
    let (worker, blob) = (Arc::clone(inner), layer.blob.clone());
    // Another pull may have brought it while this one waited, and an earlier one may have left the blob.
    if inner.snapshots.has_layer(&layer.diff_id) {
        return Ok(());
    }
    let stored = tokio::task::spawn_blocking(move || worker.content.size(&blob.digest)).await??;
    if stored == Some(layer.blob.size) {
        tell(LayerStep::Unpacking);
        let worker = Arc::clone(inner);
        return tokio::task::spawn_blocking(move || {
            let _working = working;
            take_in::run(&worker, &layer, Source::Stored)
        })
        .await?;
    }
    let total = layer.blob.size;
    let (sink, pieces) = mpsc::channel::<Bytes>(WAITING);
    let (worker, taken) = (Arc::clone(inner), layer.clone());
    let taking = tokio::task::spawn_blocking(move || {
        let _working = working;
        take_in::run(&worker, &taken, Source::Network(pieces))
    });
    let wanted = Wanted { what: "layer", digest: &layer.blob.digest, size: total };
    let report = |done| tell(LayerStep::Fetching { done, total });
    let fetched = inner.registry.blob(name, wanted, &sink, &report).await;
    drop(sink);
    tell(LayerStep::Unpacking);
    let taken = taking.await?;
    match fetched {
        // The other side stopped taking, and knows why.
        Err(PullError::Interrupted) => taken,
        Err(error) => Err(error),
        Ok(()) => taken,
    }
}
