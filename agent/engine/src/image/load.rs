//! Images from an archive: an OCI image layout, or what `docker save` wrote before it wrote layouts. The archive
//! is read once, from its start to its end, however its documents lie in it: each of its files becomes a blob
//! (`load/archive.rs`), then the documents say what of it is images (`load/layout.rs`, `load/docker.rs`). Layers for
//! this host are unpacked as those of a pull are; the records come last, and what no image needs goes again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::content::Digest;

use super::collect::{self, Scope};
use super::describe::not_for;
use super::lease::Lease;
use super::platform::Platform;
use super::pull::progress::{LayerStep, PullProgress};
use super::remove::AllInUse;
use super::store::{ImageRecord, Origin};
use super::variant;
use super::{Images, Inner, PullError, Reference};

mod archive;
mod docker;
mod layout;
mod received;

use self::archive::Files;
pub(super) use self::received::{Received, plain};

/// Images in one archive.
const MAX_IMAGES: usize = 1000;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: Digest,
    /// Its names; none when the archive has none for it.
    pub names: Vec<Reference>,
}

/// An image in an archive: what it is, and its names there.
type Root = (Digest, BTreeSet<Reference>);

impl Images {
    /// Loads images from an archive that arrives piece by piece, plain or compressed with gzip; `None` in it is an
    /// archive that broke off. With a platform only the variants for that are taken.
    ///
    /// # Errors
    /// When the archive makes no sense or a layer cannot be unpacked; nothing of it is kept then.
    pub(crate) async fn load(
        &self,
        archive: mpsc::Receiver<Option<Bytes>>,
        platform: Option<Platform>,
        progress: impl Fn(PullProgress) + Send + Sync + 'static,
        in_use: AllInUse<'_>,
    ) -> Result<Vec<Loaded>, PullError> {
        let lease = Arc::new(self.inner.leases.begin());
        let (worker, held) = (Arc::clone(&self.inner), Arc::clone(&lease));
        let taking = tokio::task::spawn_blocking(move || {
            take_in(&worker, Received::new(archive), platform.as_ref(), &progress, &held)
        });
        let outcome = match taking.await.map_err(PullError::from).flatten() {
            Ok(records) => self.record(records).await,
            Err(error) => Err(error),
        };
        let left = lease.held();
        drop(lease);
        // What no image needs: files that are no blobs of it, or all of an archive that was refused.
        if let Err(error) = collect::collect(&self.inner, in_use, Scope::Only(left)).await {
            tracing::warn!(%error, "what an archive left behind is not collected yet");
        }
        outcome
    }

    async fn record(
        &self,
        records: Vec<(ImageRecord, BTreeSet<Reference>)>,
    ) -> Result<Vec<Loaded>, PullError> {
        let mut loaded = Vec::new();
        for (record, names) in records {
            let id = record.id().clone();
            if names.is_empty() {
                self.inner.store.put(record.clone()).await?;
                self.tell("load", &id.to_string(), &id.to_string());
            }
            for name in &names {
                self.inner.store.put(ImageRecord { name: Some(name.clone()), ..record.clone() }).await?;
                self.tell("load", &id.to_string(), &name.to_string());
            }
            loaded.push(Loaded { id, names: names.into_iter().collect() });
        }
        Ok(loaded)
    }
}

/// Everything but the records. Blocking.
fn take_in(
    inner: &Arc<Inner>,
    source: Received,
    platform: Option<&Platform>,
    progress: &dyn Fn(PullProgress),
    lease: &Lease,
) -> Result<Vec<(ImageRecord, BTreeSet<Reference>)>, PullError> {
    let files = Files::take_in(inner, source, lease)?;
    let roots = match layout::roots(inner, &files)? {
        Some(roots) => roots,
        None => docker::roots(inner, &files, lease)?,
    };
    if roots.len() > MAX_IMAGES {
        let reason = format!("it holds {} images, the limit is {MAX_IMAGES}", roots.len());
        return Err(PullError::Archive { reason });
    }
    let mut records = Vec::new();
    for (root, names) in roots {
        let root = match platform {
            Some(platform) => of_platform(inner, &root, &names, platform)?,
            None => root,
        };
        let mut all = BTreeSet::new();
        super::graph::reach(inner.content.as_ref(), &root, &mut all)?;
        lease.hold_all(&all);
        for found in variant::all(inner.content.as_ref(), &root)? {
            lease.hold_all(&found.run.iter().flat_map(variant::Run::diff_ids).collect::<Vec<_>>());
        }
        variant::unpack(inner, &root, &|layer| {
            let digest = layer.blob.digest.clone();
            progress(PullProgress::Layer { digest, step: LayerStep::Unpacking });
        })?;
        records.push((variant::describe(inner, &root, &Platform::host(), Origin::Here)?, names));
    }
    Ok(records)
}

/// The variant for a platform, as an image of its own.
fn of_platform(
    inner: &Inner,
    root: &Digest,
    names: &BTreeSet<Reference>,
    platform: &Platform,
) -> Result<Digest, PullError> {
    let variants = variant::all(inner.content.as_ref(), root)?;
    let name = names.first().map_or_else(|| root.to_string(), ToString::to_string);
    let chosen = variant::choose(&variants, platform).ok_or_else(|| not_for(&name, platform, &variants))?;
    Ok(chosen.link.digest.clone())
}

/// Joins what is said of the same image in several places.
fn join(found: impl IntoIterator<Item = (Digest, Option<Reference>)>) -> Vec<Root> {
    let mut roots: BTreeMap<Digest, BTreeSet<Reference>> = BTreeMap::new();
    for (digest, name) in found {
        roots.entry(digest).or_default().extend(name);
    }
    roots.into_iter().collect()
}
