//! Garbage: blobs and layers that no image names and no container stands on. Runs while no image can be made.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::snapshot::DiffId;

use super::{Inner, PullError};

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Blobs.
    pub blobs: u64,
    /// Bytes of blobs.
    pub blob_bytes: u64,
    /// Unpacked layers.
    pub layers: u64,
}

pub(super) async fn collect(inner: &Arc<Inner>, in_use: BTreeSet<DiffId>) -> Result<Reclaimed, PullError> {
    let records = inner.store.records().await?;
    let mut layers = in_use;
    let mut blobs = BTreeSet::new();
    for record in records {
        layers.extend(record.layers);
        blobs.extend(record.blobs);
    }
    let inner = Arc::clone(inner);
    tokio::task::spawn_blocking(move || {
        let mut reclaimed = Reclaimed::default();
        for (digest, size) in inner.content.list()? {
            if !blobs.contains(&digest) {
                inner.content.delete(&digest)?;
                reclaimed.blobs += 1;
                reclaimed.blob_bytes += size;
            }
        }
        for layer in inner.snapshots.layers()? {
            if !layers.contains(&layer) {
                inner.snapshots.delete_layer(&layer)?;
                reclaimed.layers += 1;
            }
        }
        Ok(reclaimed)
    })
    .await?
}
