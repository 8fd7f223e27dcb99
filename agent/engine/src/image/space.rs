//! What images take of the disk: blobs and unpacked layers, each counted once however many images have it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::content::Digest;
use crate::snapshot::DiffId;

use super::catalogue::{ImageSummary, reach};
use super::collect::InUse;
use super::{ImageFilter, Images, PullError, Reference, User};

/// What all images take.
#[derive(Debug, Clone, Default)]
pub struct Space {
    /// Each image.
    pub images: Vec<ImageSpace>,
    /// Bytes of all images together.
    pub bytes: u64,
    /// What would be freed without those that no container uses.
    pub unused_bytes: u64,
    /// What no image and no container needs.
    pub garbage_bytes: u64,
}

/// What one image takes.
#[derive(Debug, Clone)]
pub struct ImageSpace {
    /// The image.
    pub image: ImageSummary,
    /// Bytes of all that it leads to and is here.
    pub bytes: u64,
    /// Of these, what other images have too.
    pub shared_bytes: u64,
    /// Containers that use it.
    pub users: Vec<User>,
}

/// Blobs and layers. One digest may be both.
type Things = BTreeSet<(Kind, Digest)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Blob,
    Layer,
}

impl Images {
    /// What images take of the disk.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn space(
        &self,
        users: impl Fn(&BTreeSet<Digest>, &[Reference]) -> Vec<User> + Send + 'static,
        in_use: InUse,
    ) -> Result<Space, PullError> {
        let images = self.summaries(&ImageFilter::default(), true).await?;
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || {
            let mut sizes: BTreeMap<(Kind, Digest), u64> = BTreeMap::new();
            sizes.extend(inner.content.list()?.into_iter().map(|(blob, size)| ((Kind::Blob, blob), size)));
            for layer in inner.snapshots.layers()? {
                // One that goes at this moment takes nothing.
                let size = inner.snapshots.layer_size(&layer).unwrap_or_default();
                sizes.insert((Kind::Layer, layer), size);
            }
            let mut parts = Vec::new();
            for image in images {
                let all = reach(inner.content.as_ref(), &image.id)?;
                let users = users(&all, &image.names);
                let layers = image.variants.iter().flat_map(|variant| variant.layers.clone());
                let things = things(all, layers);
                parts.push((image, things, users));
            }
            let mut by_containers = Things::new();
            for manifest in &in_use.manifests {
                by_containers.extend(things(reach(inner.content.as_ref(), manifest)?, []));
            }
            by_containers.extend(things(BTreeSet::new(), in_use.layers));
            Ok(sum(&sizes, parts, &by_containers))
        })
        .await?
    }
}

fn things(blobs: BTreeSet<Digest>, layers: impl IntoIterator<Item = DiffId>) -> Things {
    let blobs = blobs.into_iter().map(|blob| (Kind::Blob, blob));
    blobs.chain(layers.into_iter().map(|layer| (Kind::Layer, layer))).collect()
}

fn sum(
    sizes: &BTreeMap<(Kind, Digest), u64>,
    parts: Vec<(ImageSummary, Things, Vec<User>)>,
    by_containers: &Things,
) -> Space {
    let bytes = |things: &mut dyn Iterator<Item = &(Kind, Digest)>| -> u64 {
        things.filter_map(|thing| sizes.get(thing)).sum()
    };
    let mut owners: BTreeMap<&(Kind, Digest), usize> = BTreeMap::new();
    let mut used: BTreeSet<&(Kind, Digest)> = by_containers.iter().collect();
    for (_, things, users) in &parts {
        for thing in things {
            *owners.entry(thing).or_default() += 1;
        }
        if !users.is_empty() {
            used.extend(things);
        }
    }
    let all = bytes(&mut owners.keys().copied());
    let unused_bytes = bytes(&mut owners.keys().copied().filter(|thing| !used.contains(*thing)));
    let is_garbage = |thing: &&(Kind, Digest)| !owners.contains_key(*thing) && !used.contains(*thing);
    let garbage_bytes = bytes(&mut sizes.keys().filter(is_garbage));
    let sums: Vec<(u64, u64)> = parts
        .iter()
        .map(|(_, things, _)| {
            let shared = |thing: &&(Kind, Digest)| owners.get(*thing).is_some_and(|count| *count > 1);
            (bytes(&mut things.iter()), bytes(&mut things.iter().filter(shared)))
        })
        .collect();
    let images = parts.into_iter().zip(sums).map(|((image, _, users), (bytes, shared_bytes))| ImageSpace {
        image,
        bytes,
        shared_bytes,
        users,
    });
    Space { images: images.collect(), bytes: all, unused_bytes, garbage_bytes }
}
