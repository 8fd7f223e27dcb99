//! Snapshots: unpacked layers, and the writable directories of containers on top of them.
//!
//! # Vocabulary
//! - A **layer** is the content of one archive as a directory, named by its diff id, the digest of the uncompressed
//!   archive. It is complete, durable and never changed. Layers know nothing of each other: whiteouts are in overlay's
//!   own form, so an image is merely an order of layers.
//! - An **incoming** layer is a directory that is being filled. It is not a layer until it is committed.
//! - A **snapshot** is what one container needs for its root: its lowers, and an upper and a work directory of its own.
//!
//! # Lifecycle
//! `begin_layer` answers an empty directory; who fills it calls `commit` with the diff id once that is known to be
//! right. The commit syncs the file system and then renames, so a name stands for a whole layer even after a
//! power cut. An incoming layer that is dropped is removed, one that a crash left is removed at the next open.
//! `prepare` makes the upper and work directories of a container and answers the mount in overlay's order; calling it
//! again for the same container answers the same, so a crash in between needs no care. `remove` takes them away.
//! `delete_layer` is for who knows that no image and no container needs a layer (`image/collect.rs`).
//!
//! # Example
//! An image of two layers, and a container of it whose ids start at 1,048,576:
//! ```no_run
//! # use agent_engine::snapshot::{DiffId, IdRange, Snapshots};
//! # async fn example(base: DiffId, application: DiffId) -> Result<(), Box<dyn std::error::Error>> {
//! let snapshots = Snapshots::open("/var/lib/roadstead/agent/snapshots")?;
//! for layer in [&base, &application] {
//!     let incoming = snapshots.begin_layer()?;
//!     // ... unpack into incoming.directory() ...
//!     incoming.commit(layer)?;
//! }
//! let owner = IdRange { base: 1_048_576, size: 65_536 };
//! let mounts = snapshots.prepare("8f2c", &[base, application], owner).await?;
//! // mount -t overlay -o lowerdir=application:base,upperdir=..,workdir=..
//! snapshots.remove("8f2c").await?;
//! # Ok(()) }
//! ```
//!
//! Files of layers belong to the ids of the archive, that is to root: lowers are idmapped when they are mounted, and
//! nothing is ever chowned but the two directories of a container. All of it lies below a directory of mode 0700,
//! since setuid programs of images are real files here.
//!
//! Deliberately absent: mounting. That is the runtime's, by descriptor and inside the container's mount namespace.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::content::Digest;

mod container;
mod layer;
pub(crate) mod size;
#[cfg(test)]
mod suite;

pub use self::layer::IncomingLayer;

/// The digest of a layer's uncompressed archive.
pub type DiffId = Digest;

/// The host ids that stand for the ids 0 to `size - 1` of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The host id of the container's root.
    pub base: u32,
    /// How many ids there are.
    pub size: u32,
}

/// What overlayfs is mounted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounts {
    /// The layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// Where the container's changes go.
    pub upper: PathBuf,
    /// overlayfs's own scratch directory.
    pub work: PathBuf,
}

/// A layer that is out of sight; its files wait for [`Snapshots::bury`].
#[derive(Debug)]
pub(crate) struct Discarded(PathBuf);

/// The layers and snapshots of a host. Clones share the directory.
#[derive(Debug, Clone)]
pub struct Snapshots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Numbers what lies in `incoming/` and `trash/`, which only this process uses.
    next: AtomicU64,
    /// Sizes of layers, which never change, as far as somebody asked.
    sizes: Mutex<BTreeMap<DiffId, u64>>,
}

/// A failure of the snapshot store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotError {
    /// The system refused.
    #[error("cannot use {}: {reason}", path.display())]
    Store {
        /// The path that failed.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A layer is not there.
    #[error("layer {layer} is not unpacked on this host: pull the image again")]
    MissingLayer {
        /// The layer.
        layer: DiffId,
    },
    /// An image without layers has no root to run in.
    #[error("the image has no layers")]
    NoLayers,
    /// A container id that is no plain name.
    #[error("{id:?} is not a container id")]
    BadId {
        /// The id.
        id: String,
    },
}

impl Snapshots {
    /// Opens the store in `root`, creating it if needed, and removes what a crash left half-made.
    ///
    /// # Errors
    /// When the directories cannot be created or read.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, SnapshotError> {
        let root = root.as_ref().to_path_buf();
        for name in ["layers", "containers", "incoming", "trash"] {
            let dir = root.join(name);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|fault| store(&dir, &fault))?;
        }
        for name in ["incoming", "trash"] {
            let dir = root.join(name);
            for entry in fs::read_dir(&dir).map_err(|fault| store(&dir, &fault))? {
                let path = entry.map_err(|fault| store(&dir, &fault))?.path();
                fs::remove_dir_all(&path).map_err(|fault| store(&path, &fault))?;
            }
        }
        Ok(Self { inner: Arc::new(Inner { root, next: AtomicU64::new(0), sizes: Mutex::default() }) })
    }

    /// Whether a layer is there.
    pub fn has_layer(&self, layer: &DiffId) -> bool {
        self.layer_path(layer).is_dir()
    }

    /// Where a layer lies if it is there.
    pub fn layer_path(&self, layer: &DiffId) -> PathBuf {
        self.dir("layers").join(layer.hex())
    }

    /// Every layer that is there. Blocking.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn layers(&self) -> Result<Vec<DiffId>, SnapshotError> {
        let names = names(&self.dir("layers"))?;
        let digest = |hex: &String| {
            let algorithm = if hex.len() == 64 { "sha256" } else { "sha512" };
            format!("{algorithm}:{hex}").parse().ok()
        };
        Ok(names.iter().filter_map(digest).collect())
    }

    /// Starts a layer: an empty directory that becomes one by [`IncomingLayer::commit`]. Blocking.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub fn begin_layer(&self) -> Result<IncomingLayer, SnapshotError> {
        IncomingLayer::create(self.clone())
    }

    /// Removes a layer; removing what is not there is fine. Blocking.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn delete_layer(&self, layer: &DiffId) -> Result<(), SnapshotError> {
        self.discard_layer(layer)?.map_or(Ok(()), |layer| self.bury(layer).map(drop))
    }

    /// Takes a layer out of sight; `None` when it is not there. What is left of it goes with [`Snapshots::bury`], or
    /// with the next opening. Blocking.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn discard_layer(&self, layer: &DiffId) -> Result<Option<Discarded>, SnapshotError> {
        let (path, trash) = (self.layer_path(layer), self.fresh("trash"));
        match fs::rename(&path, &trash) {
            Ok(()) => {
                self.sizes().remove(layer);
                Ok(Some(Discarded(trash)))
            }
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(store(&path, &fault)),
        }
    }

    /// Removes the files of a layer that is out of sight; answers their bytes. Blocking.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn bury(&self, layer: Discarded) -> Result<u64, SnapshotError> {
        let Discarded(path) = layer;
        let bytes = size::of(&path).unwrap_or_default();
        fs::remove_dir_all(&path).map_err(|fault| store(&path, &fault))?;
        Ok(bytes)
    }

    /// Bytes of the files of a layer. Blocking.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn layer_size(&self, layer: &DiffId) -> Result<u64, SnapshotError> {
        if let Some(known) = self.sizes().get(layer) {
            return Ok(*known);
        }
        let path = self.layer_path(layer);
        let size = size::of(&path).map_err(|fault| store(&path, &fault))?;
        self.sizes().insert(layer.clone(), size);
        Ok(size)
    }

    /// Data behind this lock is valid between any two statements.
    fn sizes(&self) -> MutexGuard<'_, BTreeMap<DiffId, u64>> {
        self.inner.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the snapshot of a container, or answers the one it has. `layers` are in the image's order, base first.
    ///
    /// # Errors
    /// [`SnapshotError::MissingLayer`]; nothing is created then.
    pub async fn prepare(
        &self,
        container_id: &str,
        layers: &[DiffId],
        owner: IdRange,
    ) -> Result<Mounts, SnapshotError> {
        let (snapshots, id, layers) = (self.clone(), container_id.to_owned(), layers.to_vec());
        blocking(move || container::prepare(&snapshots, &id, &layers, owner)).await
    }

    /// Lets the writable directories of a container, which are still empty, hold so many bytes.
    ///
    /// # Errors
    /// When the file system counts no projects.
    pub async fn limit(&self, container_id: &str, project: u32, bytes: u64) -> Result<(), SnapshotError> {
        let own = self.dir("containers").join(container_id);
        blocking(move || container::limit(&own, project, bytes)).await
    }

    /// Takes that limit away. Not worth a failed removal: the files go, and the number is set anew when it is used again.
    pub async fn unlimit(&self, container_id: &str, project: u32) {
        let own = self.dir("containers").join(container_id);
        let forget = move || {
            let opened = File::open(&own).map_err(|fault| store(&own, &fault))?;
            agent_runtime::quota::forget(opened.as_fd(), project).map_err(|fault| store(&own, &fault))
        };
        if let Err(error) = blocking(forget).await {
            tracing::debug!(container = container_id, %error, "the quota of a container stays");
        }
    }

    /// Removes the snapshot of a container, which must not be mounted any more; removing what is not there is fine.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn remove(&self, container_id: &str) -> Result<(), SnapshotError> {
        let (snapshots, id) = (self.clone(), container_id.to_owned());
        blocking(move || container::remove(&snapshots, &id)).await
    }

    /// The ids of all containers that have a snapshot.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn list(&self) -> Result<Vec<String>, SnapshotError> {
        let dir = self.dir("containers");
        blocking(move || names(&dir)).await
    }

    /// Bytes that a container has written. It may go on writing meanwhile.
    ///
    /// # Errors
    /// When it has no snapshot.
    pub async fn size(&self, container_id: &str) -> Result<u64, SnapshotError> {
        let upper = self.dir("containers").join(container_id).join("upper");
        blocking(move || size::of(&upper).map_err(|fault| store(&upper, &fault))).await
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.inner.root.join(name)
    }

    /// A path in `incoming` or `trash` that nothing has yet.
    fn fresh(&self, dir: &str) -> PathBuf {
        self.dir(dir).join(self.inner.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Takes a directory out of sight by one rename, then removes it: a crash in between leaves no half of it visible.
    fn discard(&self, path: &Path) -> Result<(), SnapshotError> {
        let trash = self.fresh("trash");
        match fs::rename(path, &trash) {
            Ok(()) => fs::remove_dir_all(&trash).map_err(|fault| store(&trash, &fault)),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(fault) => Err(store(path, &fault)),
        }
    }
}

/// Bytes of the files below a directory, none where it cannot be read. Other file systems below it do not count.
pub(crate) fn bytes_below(path: &Path) -> u64 {
    size::of(path).unwrap_or_default()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, SnapshotError> {
    let failed = |fault: &tokio::task::JoinError| SnapshotError::Store {
        path: PathBuf::new(),
        reason: fault.to_string(),
    };
    tokio::task::spawn_blocking(work).await.map_err(|fault| failed(&fault))?
}

fn names(dir: &Path) -> Result<Vec<String>, SnapshotError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|fault| store(dir, &fault))? {
        let entry = entry.map_err(|fault| store(dir, &fault))?;
        found.extend(entry.file_name().into_string().ok());
    }
    found.sort();
    Ok(found)
}

fn sync_dir(dir: &Path) -> Result<(), SnapshotError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|fault| store(dir, &fault))
}

fn sync_file_system(dir: BorrowedFd<'_>, path: &Path) -> Result<(), SnapshotError> {
    rustix::fs::syncfs(dir.as_fd()).map_err(|fault| store(path, &fault.into()))
}

fn store(path: &Path, fault: &io::Error) -> SnapshotError {
    SnapshotError::Store { path: path.to_path_buf(), reason: fault.to_string() }
}
