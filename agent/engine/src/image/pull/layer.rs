//! One layer of a pull: present, or fetched and taken in at the same time.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::content::{ContentError, Digest};
use crate::image::manifest::{Compression, Descriptor};
use crate::image::registry::{Access, Wanted};
use crate::image::{Inner, PullError};
use crate::snapshot::DiffId;

use super::Asked;
use super::progress::{LayerStep, PullProgress};
use super::take_in::{self, Source};

/// Pieces of the network that may wait for the disk.
const WAITING: usize = 32;

/// Held by whoever works on a layer; a thread goes on for a moment when its pull is dropped.
pub(super) type Working = mpsc::Sender<Infallible>;

/// A layer as manifest and configuration describe it together.
#[derive(Debug, Clone)]
pub(in crate::image) struct Layer {
    pub(in crate::image) blob: Descriptor,
    pub(in crate::image) compression: Compression,
    pub(in crate::image) diff_id: DiffId,
}

impl Layer {
    /// One that was made here and is not compressed.
    pub(in crate::image) fn own(digest: &Digest, size: u64) -> Self {
        let blob = Descriptor::own_layer(digest.clone(), size);
        Self { blob, compression: Compression::None, diff_id: digest.clone() }
    }
}

/// Makes sure that a layer is here.
pub(super) async fn ensure(
    inner: &Arc<Inner>,
    asked: Asked<'_>,
    layer: Layer,
    working: Working,
) -> Result<(), PullError> {
    let digest = layer.blob.digest.clone();
    let tell = |step| (asked.listener)(PullProgress::Layer { digest: digest.clone(), step });
    tell(LayerStep::Waiting);
    let (worker, wanted) = (Arc::clone(inner), layer.clone());
    // The same files may have come in another form: what a manifest names is kept, so that it can be saved.
    if !tokio::task::spawn_blocking(move || is_here(&worker, &wanted)).await?? {
        let key = layer.diff_id.to_string();
        inner.layers.run(&key, Box::pin(bring(inner, asked, layer, working, &tell))).await?;
    }
    tell(LayerStep::Done);
    Ok(())
}

fn is_here(inner: &Inner, layer: &Layer) -> Result<bool, PullError> {
    Ok(inner.snapshots.has_layer(&layer.diff_id)
        && inner.content.size(&layer.blob.digest)? == Some(layer.blob.size))
}

async fn bring(
    inner: &Arc<Inner>,
    asked: Asked<'_>,
    layer: Layer,
    working: Working,
    tell: &(dyn Fn(LayerStep) + Send + Sync),
) -> Result<(), PullError> {
    let (worker, blob) = (Arc::clone(inner), layer.blob.clone());
    // Another pull may have brought it while this one waited, and an earlier one may have left the blob.
    let (stored, is_unpacked) = {
        let diff_id = layer.diff_id.clone();
        let look = move || -> Result<_, ContentError> {
            Ok((worker.content.size(&blob.digest)?, worker.snapshots.has_layer(&diff_id)))
        };
        tokio::task::spawn_blocking(look).await??
    };
    if stored == Some(layer.blob.size) {
        if is_unpacked {
            return Ok(());
        }
        tell(LayerStep::Unpacking);
        let worker = Arc::clone(inner);
        return tokio::task::spawn_blocking(move || {
            let _working = working;
            take_in::run(&worker, &layer, Source::Stored)
        })
        .await?;
    }
    match fetch(inner, asked.access(true), &layer, working.clone(), tell).await {
        // A mirror may have sent it; the registry itself is asked before that is believed.
        Err(PullError::Damaged { .. }) if inner.registry.has_mirrors(asked.name) => {
            fetch(inner, asked.access(false), &layer, working, tell).await
        }
        outcome => outcome,
    }
}

async fn fetch(
    inner: &Arc<Inner>,
    access: Access<'_>,
    layer: &Layer,
    working: Working,
    tell: &(dyn Fn(LayerStep) + Send + Sync),
) -> Result<(), PullError> {
    let total = layer.blob.size;
    let (sink, pieces) = mpsc::channel::<Bytes>(WAITING);
    let (worker, taken) = (Arc::clone(inner), layer.clone());
    let taking = tokio::task::spawn_blocking(move || {
        let _working = working;
        take_in::run(&worker, &taken, Source::Network(pieces))
    });
    let wanted = Wanted { what: "layer", digest: &layer.blob.digest, size: total };
    let report = |done| tell(LayerStep::Fetching { done, total });
    let fetched = inner.registry.blob(access, wanted, &sink, &report).await;
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
