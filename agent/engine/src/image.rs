//! Images: names for content that can be run. Between the content store below and the snapshots above it.
//!
//! [`Images`] is the façade: pull from a registry (`pull/`, `registry/`), import from memory (`import.rs`), look up,
//! list, remove, and collect what nothing refers to (`collect.rs`). An image is visible once its record is written,
//! which is the last step of a pull or an import: blobs and layers are durable before it, so an acknowledged
//! pull survives a power cut and a failed one shows nothing.
//!
//! What an image says of itself ([`ImageConfig`]) is data for display and for defaults of the container's own process.
//! It never becomes configuration of the engine: there is no conversion from it into any type that is.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use tokio::sync::RwLock;

use crate::content::{ContentStore, Digest, LocalContent};
use crate::events::Events;
use crate::records::Records;
use crate::snapshot::{DiffId, Snapshots};

use self::pull::share::Shared;
use self::registry::Registry;
use self::store::ImageStore;

pub use self::collect::Reclaimed;
pub(crate) use self::commit::NewImage;
pub use self::config::ImageConfig;
pub use self::error::PullError;
pub use self::pull::progress::{LayerStep, PullProgress};
pub use self::reference::{Reference, ReferenceError};
pub use self::registry::RegistryOptions;
pub(crate) use self::unpack::{ArchiveEntry, ArchiveName, ArchiveReader, EntryKind};
pub use self::unpack::{Limits, UnpackError, Unpacked, unpack};

mod collect;
mod commit;
mod config;
mod error;
mod import;
mod manifest;
mod pull;
mod reference;
mod registry;
mod store;
mod unpack;

/// An image that can be run on this host.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name it is known by here.
    pub name: Reference,
    /// The digest of its manifest for this platform.
    pub manifest_digest: Digest,
    /// The digest of its configuration, which Docker calls the image id.
    pub config_digest: Digest,
    /// What it says of itself.
    pub config: ImageConfig,
    /// Its layers, base first.
    pub layers: Vec<DiffId>,
    /// Bytes of its manifest, configuration and layers as they are transferred.
    pub size: u64,
    /// When it was built, in milliseconds since 1970; 0 when it does not say.
    pub created_at_ms: u64,
}

/// The images of a host. Clones share everything.
#[derive(Debug, Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    content: Arc<dyn ContentStore>,
    snapshots: Snapshots,
    store: ImageStore,
    registry: Registry,
    limits: Limits,
    /// Pulls of the same image that run at the same time are one.
    pulls: Shared<Image>,
    /// So are fetches of the same layer, by whichever images.
    layers: Shared<()>,
    /// Held for reading by who makes images, for writing by who collects garbage.
    gate: RwLock<()>,
    /// Who is told of what happens to images.
    told: OnceLock<Events>,
}

impl Images {
    /// Puts the layers together. `content` and `snapshots` have swept what a crash left when they were opened.
    pub fn open(
        content: LocalContent,
        snapshots: Snapshots,
        records: &Records,
        options: RegistryOptions,
    ) -> Self {
        let content: Arc<dyn ContentStore> = Arc::new(content);
        let store = ImageStore::new(records, Arc::clone(&content));
        let inner = Inner {
            content,
            snapshots,
            store,
            registry: Registry::new(options),
            limits: Limits::default(),
            pulls: Shared::default(),
            layers: Shared::default(),
            gate: RwLock::new(()),
            told: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Tells `events` from now on what happens to images.
    #[must_use]
    pub fn telling(self, events: Events) -> Self {
        // Somebody is told already.
        let _ = self.inner.told.set(events);
        self
    }

    /// `actor` is the image's digest, or its name where only that is known, as in Docker.
    fn tell(&self, action: &str, actor: &str, reference: &Reference) {
        if let Some(events) = self.inner.told.get() {
            events.tell_image(action, actor, &reference.to_string());
        }
    }

    /// Pulls an image from its registry. Layers that are here are not fetched again; a pull that is dropped or fails
    /// leaves nothing half-made, and a second pull of the same image joins one that is under way.
    ///
    /// # Errors
    /// [`PullError`], in words for the person who asked.
    pub async fn pull(
        &self,
        reference: &Reference,
        progress: impl Fn(PullProgress) + Send + Sync,
    ) -> Result<Image, PullError> {
        let _making = self.inner.gate.read().await;
        let work = pull::pull(&self.inner, reference, &progress);
        // On the heap: the state of a pull is large, and callers keep it in their own.
        let image = self.inner.pulls.run(&reference.full(), Box::pin(work)).await?;
        self.tell("pull", &reference.to_string(), reference);
        Ok(image)
    }

    /// The image of that name, if it is here.
    ///
    /// # Errors
    /// When the records or the content cannot be read.
    pub async fn get(&self, reference: &Reference) -> Result<Option<Image>, PullError> {
        self.inner.store.get(reference).await
    }

    /// Every image, in the order of their full names.
    ///
    /// # Errors
    /// As [`Images::get`].
    pub async fn list(&self) -> Result<Vec<Image>, PullError> {
        self.inner.store.list().await
    }

    /// Forgets a name; answers whether it was known. What it referred to goes with the next [`Images::collect`].
    ///
    /// # Errors
    /// When the records cannot be written.
    pub async fn remove(&self, reference: &Reference) -> Result<bool, PullError> {
        // One that cannot be read can be forgotten all the same.
        let image = self.inner.store.get(reference).await.ok().flatten();
        let known = self.inner.store.remove(reference).await?;
        if let Some(image) = image.filter(|_| known) {
            let digest = image.manifest_digest.to_string();
            self.tell("untag", &digest, reference);
            let others = self.inner.store.list().await?;
            if !others.iter().any(|other| other.manifest_digest == image.manifest_digest) {
                self.tell("delete", &digest, reference);
            }
        }
        Ok(known)
    }

    /// Makes an image out of `layers`, uncompressed archives, base first, and an image configuration (OCI or Docker; its
    /// `rootfs` is filled in here). The same input gives the same digests everywhere, and doing it again does nothing.
    ///
    /// # Errors
    /// When the configuration is no JSON object, or a layer cannot be unpacked.
    pub async fn import(
        &self,
        reference: &Reference,
        layers: Vec<Vec<u8>>,
        config: serde_json::Value,
    ) -> Result<Image, PullError> {
        let _making = self.inner.gate.read().await;
        let image = Box::pin(import::import(&self.inner, reference, layers, config)).await?;
        self.tell("import", &image.manifest_digest.to_string(), reference);
        Ok(image)
    }

    /// Makes an image out of another one and a layer, an uncompressed archive that `write` writes. `edit` changes what
    /// its containers start from, the member `config` of its configuration.
    ///
    /// # Errors
    /// When the image below is not whole here, or the layer cannot be written or unpacked; no image is made then.
    pub(crate) async fn commit(
        &self,
        new: NewImage,
        edit: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>) + Send + 'static,
        write: impl FnOnce(&mut dyn std::io::Write) -> Result<(), PullError> + Send + 'static,
    ) -> Result<Image, PullError> {
        let _making = self.inner.gate.read().await;
        let image = Box::pin(commit::commit(&self.inner, new, edit, write)).await?;
        self.tell("tag", &image.manifest_digest.to_string(), &image.name);
        Ok(image)
    }

    /// Removes blobs and layers that neither an image nor a container refers to. `in_use` answers the layers of all
    /// containers; it is called while no image can be made, and no container may be created from then on until this
    /// returns.
    ///
    /// # Errors
    /// [`PullError::Busy`] while a pull or an import is running.
    pub async fn collect(&self, in_use: impl FnOnce() -> BTreeSet<DiffId>) -> Result<Reclaimed, PullError> {
        let _alone = self.inner.gate.try_write().map_err(|_| PullError::Busy)?;
        collect::collect(&self.inner, in_use()).await
    }
}

#[cfg(test)]
mod tests;
