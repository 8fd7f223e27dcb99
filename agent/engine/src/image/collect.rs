//! Garbage: blobs and layers that no image names, no container stands on and nobody works with.
//!
//! Names are counted, not references: a collection reads all records, walks from each to everything it leads to,
//! and takes what is left, in small steps. Between two steps containers may be made and images named; what they
//! rely on is asked again before each step, and leases keep what is on its way ([`super::lease`]). A blob goes by one
//! unlink, a layer by one rename, so a crash in between leaves less garbage and nothing half.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::content::Digest;
use crate::snapshot::DiffId;

use super::graph;
use super::{Inner, PullError};

/// Things that are looked at with containers kept from being made.
const STEP: usize = 32;

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Blobs.
    pub blobs: u64,
    /// Bytes of blobs.
    pub blob_bytes: u64,
    /// Unpacked layers.
    pub layers: u64,
    /// Bytes of their files.
    pub layer_bytes: u64,
}

impl Reclaimed {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.blob_bytes.saturating_add(self.layer_bytes)
    }
}

/// What containers rely on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    /// Layers they stand on or have mounted.
    pub layers: BTreeSet<DiffId>,
    /// Manifests of the images they were made from: a commit goes back to them.
    pub manifests: BTreeSet<Digest>,
}

/// What is taken if nothing needs it.
#[derive(Debug)]
pub(super) enum Scope {
    Everything,
    /// Of these only: what one image led to.
    Only(BTreeSet<Digest>),
}

impl Scope {
    fn admits(&self, digest: &Digest) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(some) => some.contains(digest),
        }
    }
}

#[derive(Debug)]
enum Thing {
    Blob(Digest, u64),
    Layer(DiffId),
}

pub(super) async fn collect(
    inner: &Arc<Inner>,
    in_use: &(dyn Fn() -> InUse + Send + Sync),
    scope: Scope,
) -> Result<Reclaimed, PullError> {
    let _alone = inner.collecting.lock().await;
    let _collecting = inner.leases.collecting();
    let things = {
        let records = inner.store.records().await?;
        let inner = Arc::clone(inner);
        tokio::task::spawn_blocking(move || candidates(&inner, &records, &scope)).await??
    };
    // Before containers are asked: one that goes meanwhile leaves work for another collection.
    inner.waits_for_containers.store(true, Ordering::SeqCst);
    let mut spared = false;
    let mut reclaimed = Reclaimed::default();
    let mut things = things.into_iter().peekable();
    while things.peek().is_some() {
        let step: Vec<Thing> = things.by_ref().take(STEP).collect();
        let taken = {
            // No container comes to be here while what they use is counted and the step is done.
            let _no_containers = inner.gate.write().await;
            let (worker, in_use) = (Arc::clone(inner), in_use());
            tokio::task::spawn_blocking(move || take(&worker, step, &in_use)).await??
        };
        spared |= taken.spared;
        let worker = Arc::clone(inner);
        let done = tokio::task::spawn_blocking(move || bury(&worker, taken)).await??;
        reclaimed.blobs += done.blobs;
        reclaimed.blob_bytes += done.blob_bytes;
        reclaimed.layers += done.layers;
        reclaimed.layer_bytes += done.layer_bytes;
    }
    inner.waits_for_containers.store(spared, Ordering::SeqCst);
    Ok(reclaimed)
}

/// What no record leads to.
fn candidates(
    inner: &Inner,
    records: &[super::store::ImageRecord],
    scope: &Scope,
) -> Result<Vec<Thing>, PullError> {
    let mut live = BTreeSet::new();
    for record in records {
        live.extend(record.layers.iter().cloned());
        live.extend(record.blobs.iter().cloned());
        live.extend([record.config.clone(), record.manifest.clone()]);
        graph::reach(inner.content.as_ref(), record.id(), &mut live)?;
    }
    let is_garbage = |digest: &Digest| scope.admits(digest) && !live.contains(digest);
    let blobs = inner.content.list()?.into_iter().filter(|(digest, _)| is_garbage(digest));
    let layers = inner.snapshots.layers()?.into_iter().filter(|layer| is_garbage(layer));
    Ok(blobs.map(|(digest, size)| Thing::Blob(digest, size)).chain(layers.map(Thing::Layer)).collect())
}

/// What a step took out of sight.
#[derive(Debug, Default)]
struct Taken {
    reclaimed: Reclaimed,
    layers: Vec<crate::snapshot::Discarded>,
    /// Something is only kept because a container uses it.
    spared: bool,
}

fn take(inner: &Inner, step: Vec<Thing>, in_use: &InUse) -> Result<Taken, PullError> {
    let mut needed = in_use.layers.clone();
    for manifest in &in_use.manifests {
        graph::reach(inner.content.as_ref(), manifest, &mut needed)?;
    }
    let mut taken = Taken::default();
    for thing in step {
        match thing {
            Thing::Blob(digest, size) if !needed.contains(&digest) => {
                if inner.leases.unless_held(&digest, || inner.content.delete(&digest))?.is_some() {
                    taken.reclaimed.blobs += 1;
                    taken.reclaimed.blob_bytes += size;
                }
            }
            Thing::Layer(layer) if !needed.contains(&layer) => {
                let discard = || inner.snapshots.discard_layer(&layer);
                taken.layers.extend(inner.leases.unless_held(&layer, discard)?.flatten());
            }
            Thing::Blob(..) | Thing::Layer(_) => taken.spared = true,
        }
    }
    Ok(taken)
}

/// Removes the files of layers that are out of sight already.
fn bury(inner: &Inner, taken: Taken) -> Result<Reclaimed, PullError> {
    let mut reclaimed = taken.reclaimed;
    for layer in taken.layers {
        reclaimed.layer_bytes += inner.snapshots.bury(layer)?;
        reclaimed.layers += 1;
    }
    Ok(reclaimed)
}
