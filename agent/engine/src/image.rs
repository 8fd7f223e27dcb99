//! Images: names for content that can be run. Between the content store below and the snapshots above it.
//!
//! # Vocabulary
//! - An **image** is whatever a name stands for: a manifest, or an index of manifests, its **variants**, one for each
//!   platform; attestations and artifacts are kept with it. Its **id** is the digest of that document.
//! - A **name** is a record: reference to id. An image without any name is **dangling**.
//! - A **lease** holds what somebody works with (`lease.rs`).
//!
//! [`Images`] is the façade: pull from a registry (`pull/`, `registry/`), import from memory (`import.rs`), make of a
//! stream (`commit.rs`), load and save (`load.rs`, `save.rs`), find by what people write (`find.rs`), list and describe
//! (`catalogue.rs`, `describe.rs`), tag, remove, and collect what nothing refers to (`collect.rs`). An image is visible
//! once its record is written, which is the last step of whatever brings it: blobs and layers are durable before it,
//! so an acknowledged pull survives a power cut and a failed one shows nothing.
//!
//! What an image says of itself ([`ImageConfig`]) is data for display and for defaults of the container's own process.
//! It never becomes configuration of the engine: there is no conversion from it into any type that is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{Notify, RwLock, Semaphore};

use crate::content::{ContentStore, Digest, LocalContent};
use crate::events::Events;
use crate::records::Records;
use crate::snapshot::{DiffId, Snapshots};

use self::collect::Scope;
use self::lease::Leases;
use self::pull::share::Shared;
use self::registry::Registry;
use self::store::ImageStore;
use self::unpack::Unpacker;

pub use self::catalogue::{ImageFilter, ImageSummary, VariantSummary};
pub use self::collect::{InUse, Reclaimed};
pub(crate) use self::commit::NewImage;
pub use self::config::ImageConfig;
pub use self::describe::{Description, HistoryLine};
pub use self::error::PullError;
pub use self::find::Found;
pub use self::load::Loaded;
pub use self::pattern::matches as name_matches;
pub use self::platform::{Platform, PlatformError};
pub use self::pull::PullOptions;
pub use self::pull::progress::{LayerStep, PullProgress};
pub use self::push::{PushOptions, PushProgress, PushStep, Pushed};
pub use self::reference::{Reference, ReferenceError};
pub use self::registry::{Credentials, RegistryOptions, RegistrySettings, SettingsError};
pub use self::remove::{Removal, User};
pub use self::space::{ImageSpace, Space};
pub(crate) use self::unpack::{ArchiveEntry, ArchiveName, ArchiveReader, EntryKind};
pub use self::unpack::{Limits, UnpackError, Unpacked, unpack, unpack_main};
pub use self::variant::VariantKind;

mod catalogue;
mod collect;
mod commit;
mod config;
mod describe;
mod error;
mod find;
mod graph;
mod import;
mod lease;
mod load;
mod manifest;
mod pattern;
mod platform;
mod pull;
mod push;
mod reference;
mod registry;
mod remove;
mod save;
mod space;
mod store;
mod unpack;
mod variant;

/// An archive that arrives piece by piece, as a stream without its compression. For a thread that may block.
pub(crate) fn plain_archive(
    pieces: tokio::sync::mpsc::Receiver<Option<bytes::Bytes>>,
) -> Result<Box<dyn std::io::BufRead>, String> {
    load::plain(load::Received::new(pieces))
}

/// Images that are pulled side by side.
const PULLS: usize = 3;

/// An image that can be run on this host.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name it is known by here.
    pub name: Reference,
    /// Its id: the digest of what the name stands for, an index or a manifest.
    pub id: Digest,
    /// The digest of its manifest for this platform.
    pub manifest_digest: Digest,
    /// The digest of its configuration.
    pub config_digest: Digest,
    /// What it says of itself.
    pub config: ImageConfig,
    /// Its layers, base first.
    pub layers: Vec<DiffId>,
    /// Bytes of its manifest, configuration and layers as they are transferred.
    pub size: u64,
    /// When it was built, in milliseconds since 1970; 0 when it does not say.
    pub created_at_ms: u64,
    /// It is made for this host, and its layers are unpacked.
    pub unpacked: bool,
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
    /// A pull needs one of these: so many run side by side.
    places: Semaphore,
    /// So are fetches of the same layer, by whichever images.
    layers: Shared<()>,
    /// What is relied on without a record.
    leases: Leases,
    /// When containers were last made of a manifest or removed, in milliseconds since 1970, since the agent's start.
    used: Mutex<BTreeMap<Digest, u64>>,
    /// Something is garbage but for containers that use it.
    waits_for_containers: AtomicBool,
    /// Wakes who collects when that may have changed.
    container_gone: Arc<Notify>,
    /// Held by the one collection that runs.
    collecting: tokio::sync::Mutex<()>,
    /// Held for reading by who makes a container, or a blob whose digest nobody knows before; for writing by a
    /// collection while it takes things away.
    gate: RwLock<()>,
    /// Who is told of what happens to images.
    told: OnceLock<Events>,
    /// Who unpacks layers.
    unpacker: OnceLock<Unpacker>,
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
            places: Semaphore::new(PULLS),
            layers: Shared::default(),
            leases: Leases::default(),
            used: Mutex::default(),
            waits_for_containers: AtomicBool::new(false),
            container_gone: Arc::default(),
            collecting: tokio::sync::Mutex::default(),
            gate: RwLock::new(()),
            told: OnceLock::new(),
            unpacker: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Has layers unpacked by processes of `program`, which runs [`unpack_main`] when its first argument is `unpack`.
    #[must_use]
    pub fn unpacking_by(self, program: std::path::PathBuf) -> Self {
        // Somebody does already.
        let _ = self.inner.unpacker.set(Unpacker::Program(program));
        self
    }

    /// Tells `events` from now on what happens to images.
    #[must_use]
    pub fn telling(self, events: Events) -> Self {
        // Somebody is told already.
        let _ = self.inner.told.set(events);
        self
    }

    /// `actor` is the image's digest, or its name where only that is known, as in Docker.
    fn tell(&self, action: &str, actor: &str, name: &str) {
        if let Some(events) = self.inner.told.get() {
            events.tell_image(action, actor, name);
        }
    }

    /// While the guard lives nothing is collected. For moments: collections wait for it.
    pub(crate) async fn stay(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.inner.gate.read().await
    }

    /// Pulls an image from its registry, or from a mirror of it. Layers that are here are not fetched again; a pull that
    /// is dropped or fails
    /// leaves nothing half-made, and a second pull of the same image joins one that is under way.
    ///
    /// # Errors
    /// [`PullError`], in words for the person who asked.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: impl Fn(PullProgress) + Send + Sync,
    ) -> Result<Image, PullError> {
        let work = async {
            // Never closed, so this only ever waits.
            let _place = self.inner.places.acquire().await;
            pull::pull(&self.inner, reference, options, &progress).await
        };
        let platform = options.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        // On the heap: the state of a pull is large, and callers keep it in their own.
        let image = self.inner.pulls.run(&format!("{platform} {}", reference.full()), Box::pin(work)).await?;
        self.tell("pull", &reference.to_string(), &reference.to_string());
        Ok(image)
    }

    /// Pushes an image to the registry that its name says. What the registry has already is not sent again; when one
    /// blob fails the others are stopped, and the name in the registry stays as it was.
    ///
    /// # Errors
    /// [`PullError::Absent`], or what the registry has against it, in words for the person who asked.
    pub async fn push(
        &self,
        reference: &Reference,
        options: &PushOptions,
        progress: impl Fn(PushProgress) + Send + Sync,
    ) -> Result<Pushed, PullError> {
        let pushed = Box::pin(push::push(&self.inner, reference, options, &progress)).await?;
        self.tell("push", &reference.to_string(), &reference.to_string());
        Ok(pushed)
    }

    /// Asks a registry whether it takes these credentials.
    ///
    /// # Errors
    /// [`PullError::Denied`] when it does not, and what else it says or does.
    pub async fn check_login(&self, registry: &str, credentials: &Credentials) -> Result<(), PullError> {
        self.inner.registry.check_login(registry, credentials).await
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
        let image = Box::pin(import::import(&self.inner, reference, layers, config)).await?;
        self.tell("import", &image.id.to_string(), &reference.to_string());
        Ok(image)
    }

    /// Makes an image out of another one, or of none, and a layer, an uncompressed archive that `write` writes. `edit`
    /// changes what its containers start from, the member `config` of its configuration. Answers its id.
    ///
    /// # Errors
    /// When the image below is not whole here, or the layer cannot be written or unpacked; no image is made then.
    pub(crate) async fn commit(
        &self,
        new: NewImage,
        edit: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>) + Send + 'static,
        write: impl FnOnce(&mut dyn std::io::Write) -> Result<(), PullError> + Send + 'static,
    ) -> Result<Digest, PullError> {
        let (name, action) = (new.name.clone(), if new.base.is_some() { "tag" } else { "import" });
        let id = Box::pin(commit::commit(&self.inner, new, edit, write)).await?;
        let name = name.map_or_else(String::new, |name| name.to_string());
        self.tell(action, &id.to_string(), &name);
        Ok(id)
    }

    /// Says that a container is gone: what was kept only for it may be garbage now.
    pub(crate) fn container_gone(&self) {
        if self.inner.waits_for_containers.load(Ordering::SeqCst) {
            self.inner.container_gone.notify_one();
        }
    }

    /// Tells when there may be something to collect because a container is gone. Whoever waits for it keeps nothing
    /// else of the store.
    pub(crate) fn garbage(&self) -> Arc<Notify> {
        Arc::clone(&self.inner.container_gone)
    }

    /// Removes blobs and layers that neither an image nor a container refers to, and nobody works with. `in_use`
    /// answers what containers rely on; it is called while none can be made.
    ///
    /// # Errors
    /// When the store cannot be read or written; what was removed before is gone.
    pub async fn collect(&self, in_use: impl Fn() -> InUse + Send + Sync) -> Result<Reclaimed, PullError> {
        collect::collect(&self.inner, &in_use, Scope::Everything).await
    }
}

#[cfg(test)]
mod tests;
