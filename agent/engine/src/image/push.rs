//! A push: what a name stands for -> blobs side by side -> manifests, the leaves first -> the name.
//!
//! Nothing is read from the registry that would be believed: it is told what we have, and whether it has a blob
//! already only saves the way. The name is written last, so whoever pulls it meanwhile gets all of the image or the
//! one before. An index of which not all is here cannot be pushed as a whole; what is here of it is pushed instead, and
//! that is said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::content::Digest;
use futures::{StreamExt as _, TryStreamExt as _};

use super::graph::Node;
use super::lease::Lease;
use super::manifest::MAX_MANIFEST;
use super::platform::Platform;
use super::registry::{Access, Brought, Credentials, Sent};
use super::{Inner, PullError, Reference};

/// Blobs that are sent at the same time.
const SIDE_BY_SIDE: usize = 3;
/// Indexes within indexes.
const DEPTH: usize = 4;

/// How an image is pushed, beyond its name.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// Only what an index has for this platform.
    pub platform: Option<Platform>,
    /// Credentials for the image's registry; without them the host's own are taken.
    pub login: Option<Credentials>,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest that the name stands for in the registry now.
    pub digest: Digest,
    /// Its size in bytes, without what it names.
    pub size: u64,
    /// The index that the name stands for here, when not all of it is here.
    pub instead_of: Option<Digest>,
}

/// One step of a push. Steps of different blobs come in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushProgress {
    /// The registry is tried again in a while.
    Delayed {
        /// Why.
        reason: String,
        /// How long.
        wait: std::time::Duration,
    },
    /// Something happened to a blob.
    Blob {
        /// The blob.
        digest: Digest,
        /// What happened.
        step: PushStep,
    },
}

/// Where a blob is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushStep {
    /// It waits for its turn.
    Waiting,
    /// It is sent.
    Sending {
        /// Bytes that went.
        done: u64,
        /// Bytes there are.
        total: u64,
    },
    /// The registry has it now.
    Done,
    /// The registry had it before.
    Present,
    /// The registry took it over from this repository.
    Mounted(String),
}

/// Everything that is to be there afterwards.
#[derive(Debug, Default)]
struct Whole {
    /// Size by digest; what they are is for messages.
    blobs: BTreeMap<Digest, (&'static str, u64)>,
    /// Manifests and indexes, each after those that it names.
    documents: Vec<(Digest, Vec<u8>, String)>,
}

pub(super) async fn push(
    inner: &Arc<Inner>,
    name: &Reference,
    options: &PushOptions,
    listener: &(dyn Fn(PushProgress) + Send + Sync),
) -> Result<Pushed, PullError> {
    let record = inner.store.record(name).await?;
    let record = record.ok_or_else(|| PullError::Absent { image: name.to_string() })?;
    let root = record.id().clone();
    let elsewhere = elsewhere(inner, name).await?;
    let (worker, shown, manifest) = (Arc::clone(inner), name.to_string(), record.manifest.clone());
    let (platform, lease) = (options.platform.clone(), inner.leases.begin());
    let gathering = move || {
        let gathered =
            Gather { inner: &worker, lease: &lease }.all(&shown, &root, &manifest, platform.as_ref())?;
        Ok::<_, PullError>((gathered, lease))
    };
    // What is being sent is not collected meanwhile.
    let ((whole, instead_of), _lease) = tokio::task::spawn_blocking(gathering).await??;
    let tell = |reason: &str, wait| listener(PushProgress::Delayed { reason: reason.to_owned(), wait });
    let access = Access { image: name, login: options.login.as_ref(), mirrors: false, tell: &tell };
    let mut sending = Vec::new();
    for (digest, (what, size)) in &whole.blobs {
        let known = elsewhere.get(digest).map(Vec::as_slice).unwrap_or_default();
        sending.push(send(inner, access, Sent { what, digest, size: *size, elsewhere: known }, listener));
    }
    futures::stream::iter(sending).buffer_unordered(SIDE_BY_SIDE).try_collect::<()>().await?;
    let (last, inner_ones) = whole.documents.split_last().ok_or(PullError::Interrupted)?;
    for (digest, bytes, kind) in inner_ones {
        inner.registry.put_manifest(access, &digest.to_string(), bytes, kind, digest).await?;
    }
    let (digest, bytes, kind) = last;
    let version = name.tag().map_or_else(|| digest.to_string(), str::to_owned);
    inner.registry.put_manifest(access, &version, bytes, kind, digest).await?;
    Ok(Pushed { digest: digest.clone(), size: bytes.len() as u64, instead_of })
}

async fn send(
    inner: &Arc<Inner>,
    access: Access<'_>,
    blob: Sent<'_>,
    listener: &(dyn Fn(PushProgress) + Send + Sync),
) -> Result<(), PullError> {
    let (digest, total) = (blob.digest.clone(), blob.size);
    let tell = |step| listener(PushProgress::Blob { digest: digest.clone(), step });
    tell(PushStep::Waiting);
    let progress = |done| tell(PushStep::Sending { done, total });
    // On the heap: the state of an upload is large.
    let brought = Box::pin(inner.registry.upload(&inner.content, access, blob, &progress)).await?;
    tell(match brought {
        Brought::Present => PushStep::Present,
        Brought::Mounted(source) => PushStep::Mounted(source),
        Brought::Uploaded => PushStep::Done,
    });
    Ok(())
}

/// Other repositories of the same registry whose images here have a blob: it may be taken over from there.
async fn elsewhere(inner: &Arc<Inner>, name: &Reference) -> Result<BTreeMap<Digest, Vec<String>>, PullError> {
    let mut found: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
    for record in inner.store.records().await? {
        let Some(other) = record.name else { continue };
        if other.domain() == name.domain() && other.path() != name.path() {
            for blob in record.blobs {
                found.entry(blob).or_default().insert(other.path().to_owned());
            }
        }
    }
    // One attempt each: a registry that does not have it there says so by beginning an upload.
    Ok(found.into_iter().map(|(blob, paths)| (blob, paths.into_iter().take(1).collect())).collect())
}

/// Reads what a document leads to, and holds it. Blocking.
struct Gather<'a> {
    inner: &'a Inner,
    lease: &'a Lease,
}

impl Gather<'_> {
    /// All of `root`; where that is not here, and no platform is asked for, all of `manifest` in its stead.
    fn all(
        &self,
        image: &str,
        root: &Digest,
        manifest: &Digest,
        platform: Option<&Platform>,
    ) -> Result<(Whole, Option<Digest>), PullError> {
        let unusable = |reason: String| PullError::Unusable { image: image.to_owned(), reason };
        if let Some(platform) = platform {
            let chosen = self.choose(root, platform, 0)?;
            let chosen = chosen.ok_or_else(|| unusable(format!("there is nothing for {platform} in it")))?;
            let reason =
                format!("what it has for {platform} is not here; pull it first (--platform {platform})");
            return Ok((self.follow(&chosen)?.ok_or_else(|| unusable(reason))?, None));
        }
        if let Some(whole) = self.follow(root)? {
            return Ok((whole, None));
        }
        let whole = self.follow(manifest)?;
        let whole = whole.ok_or_else(|| unusable("not all of it is here; pull it again".to_owned()))?;
        Ok((whole, Some(root.clone())))
    }

    /// Everything below a document; `None` when some of it is not here.
    fn follow(&self, root: &Digest) -> Result<Option<Whole>, PullError> {
        let mut whole = Whole::default();
        Ok(self.add(root, &mut whole, 0)?.then_some(whole))
    }

    fn add(&self, digest: &Digest, whole: &mut Whole, depth: usize) -> Result<bool, PullError> {
        if whole.documents.iter().any(|(known, ..)| known == digest) {
            return Ok(true);
        }
        let Some((node, bytes)) = self.read(digest)? else { return Ok(false) };
        for link in node.leaves() {
            let is_config = node.config.as_ref().is_some_and(|config| config.digest == link.digest);
            let what = if is_config { "configuration" } else { "layer" };
            self.lease.hold(&link.digest);
            match self.inner.content.size(&link.digest)? {
                Some(size) if size == link.size => whole.blobs.insert(link.digest.clone(), (what, size)),
                _ => return Ok(false),
            };
        }
        for child in node.children() {
            if depth >= DEPTH || !self.add(&child.digest, whole, depth + 1)? {
                return Ok(false);
            }
        }
        let index = "application/vnd.oci.image.index.v1+json";
        let usual = if node.manifests.is_some() { index } else { super::manifest::OWN_MANIFEST };
        let kind = node.media_type.unwrap_or_else(|| usual.to_owned());
        whole.documents.push((digest.clone(), bytes, kind));
        Ok(true)
    }

    /// The manifest for a platform below a document.
    fn choose(&self, root: &Digest, platform: &Platform, depth: usize) -> Result<Option<Digest>, PullError> {
        let Some((node, _)) = self.read(root)? else { return Ok(None) };
        let Some(manifests) = node.manifests else { return Ok(Some(root.clone())) };
        for child in &manifests {
            if child.platform.as_ref().is_some_and(|offered| platform.admits(offered)) {
                return Ok(Some(child.digest.clone()));
            }
            if child.platform.is_none()
                && depth < DEPTH
                && let Some(found) = self.choose(&child.digest, platform, depth + 1)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn read(&self, digest: &Digest) -> Result<Option<(Node, Vec<u8>)>, PullError> {
        self.lease.hold(digest);
        if self.inner.content.size(digest)?.is_none() {
            return Ok(None);
        }
        let bytes = self.inner.content.read_all(digest, MAX_MANIFEST)?;
        let node = serde_json::from_slice(&bytes).map_err(|fault| PullError::Unusable {
            image: digest.to_string(),
            reason: format!("its manifest does not parse: {fault}"),
        })?;
        Ok(Some((node, bytes)))
    }
}
