//! Volumes: directories of the engine that outlive containers.
//!
//! # Vocabulary
//! - A **volume** has a name and a directory, `volumes/<name>/data`, that belongs to root and holds ids as containers
//!   see them: a container is shown it through a mount that maps ids, so containers with different ranges of host ids
//!   see the same owners.
//! - An **anonymous** volume was made for one container, under a name nobody chose.
//! - The **local** driver, the only one, has Docker's options: `type`, `device` and `o` name a file system that is
//!   mounted instead ([`options`]), `size` limits the directory by a project quota ([`limit`]).
//!
//! # Lifecycle
//! [`Volumes::ensure`] makes a volume or answers the one there is. The record comes first (`making`), then the
//! directory, then the record again (`ready`): what a crash leaves in between is taken back by the next open.
//! [`Volumes::fill`] copies what the image has at the volume's target into an empty volume that was never filled; the
//! record says `filling` meanwhile, and a volume found so is emptied. [`Volumes::remove`] asks who uses it, marks
//! the record, renames the directory into `trash`, forgets the record and then deletes: a crash in between is finished
//! by the next open.
//!
//! # Example
//! ```no_run
//! # use agent_engine::volume::{VolumeConfig, Volumes};
//! # async fn example(volumes: Volumes) -> Result<(), Box<dyn std::error::Error>> {
//! let config = VolumeConfig { name: "data".to_owned(), ..VolumeConfig::default() };
//! let volume = volumes.create(config).await?;
//! println!("{}", volume.mountpoint.display());
//! volumes.remove("data", || Vec::new()).await?;
//! # Ok(()) }
//! ```
//!
//! Deliberately absent: who uses a volume. Containers know that, and say it when they are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::events::{Events, Subject};
use crate::records::{Durability, Records, Table};

mod copy;
mod directory;
mod error;
mod limit;
mod open;
mod options;

pub use self::error::VolumeError;
pub(crate) use self::open::subpath;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeConfig {
    /// Unique on this engine.
    pub name: String,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// Options of the local driver: `type`, `device`, `o`, `size`.
    pub options: BTreeMap<String, String>,
    /// Made for one container.
    pub anonymous: bool,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Unique on this engine.
    pub name: String,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Made for one container.
    pub anonymous: bool,
    /// Its directory on the host.
    pub mountpoint: PathBuf,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
}

/// How far a volume has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    /// Its directory may be half made: taken back when found at start.
    Making,
    /// It can be used.
    Ready,
    /// An image's content is being copied into it: emptied when found at start.
    Filling,
    /// Being removed: finished when found at start.
    Removing,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    phase: Phase,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    anonymous: bool,
    created_at_ms: u64,
    /// An image's content was copied into it.
    filled: bool,
    /// The project that its quota counts.
    project: Option<u32>,
}

#[derive(Debug)]
struct Entry {
    /// Held by whoever changes the volume on the host.
    work: tokio::sync::Mutex<()>,
    /// `None` before it is made and once it is gone.
    record: Mutex<Option<Record>>,
}

impl Entry {
    fn new(record: Option<Record>) -> Arc<Entry> {
        Arc::new(Entry { work: tokio::sync::Mutex::default(), record: Mutex::new(record) })
    }

    /// Data behind this lock is valid between any two statements.
    fn record(&self) -> MutexGuard<'_, Option<Record>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its record, if it can be used.
    fn usable(&self) -> Option<Record> {
        self.record().clone().filter(|record| matches!(record.phase, Phase::Ready | Phase::Filling))
    }
}

/// The volumes of a host. Clones share everything.
#[derive(Debug, Clone)]
pub struct Volumes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    table: Table,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
    /// Numbers what lies in `trash/`, which only this process uses.
    next: AtomicU64,
    /// First of the project ids of this engine.
    first_project: u32,
    /// Who is told of what happens to volumes.
    told: OnceLock<Events>,
}

impl Volumes {
    /// Opens the volumes below `root` and finishes or takes back what a crash left half done.
    ///
    /// # Errors
    /// When the directory or the records cannot be used.
    pub async fn open(root: PathBuf, records: &Records, first_project: u32) -> Result<Volumes, VolumeError> {
        let table = records.table("volumes");
        let known: Vec<(String, Record)> = table.scan().await?;
        let entries = known.into_iter().map(|(name, record)| (name, Entry::new(Some(record)))).collect();
        let inner = Inner {
            root,
            table,
            entries: Mutex::new(entries),
            next: AtomicU64::new(0),
            first_project,
            told: OnceLock::new(),
        };
        let volumes = Volumes { inner: Arc::new(inner) };
        let this = volumes.clone();
        blocking(move || directory::open(&this)).await?;
        volumes.recover().await?;
        Ok(volumes)
    }

    async fn recover(&self) -> Result<(), VolumeError> {
        for (name, entry) in self.snapshot() {
            let Some(mut record) = entry.record().clone() else { continue };
            match record.phase {
                Phase::Ready => {}
                Phase::Making | Phase::Removing => self.erase(&name, &entry, Durability::Volatile).await?,
                Phase::Filling => {
                    let (this, emptied) = (self.clone(), name.clone());
                    blocking(move || directory::empty(&this, &emptied)).await?;
                    record.phase = Phase::Ready;
                    self.store(&name, &entry, record, Durability::Volatile).await?;
                }
            }
        }
        let known: BTreeSet<String> = self.entries().keys().cloned().collect();
        let this = self.clone();
        blocking(move || directory::sweep(&this, &known)).await
    }

    /// Tells `events` from now on what happens to volumes.
    #[must_use]
    pub fn telling(self, events: Events) -> Self {
        // Somebody is told already.
        let _ = self.inner.told.set(events);
        self
    }

    fn tell(&self, action: &str, name: &str) {
        if let Some(events) = self.inner.told.get() {
            events.tell(Subject::Volume, action, name, [("driver".to_owned(), "local".to_owned())].into());
        }
    }

    /// Makes a volume and answers it; one of that name with the same options is answered as it is.
    ///
    /// # Errors
    /// When the name or an option breaks a rule, the name is taken by a volume with other options, or the host
    /// refuses; then nothing was made.
    pub async fn create(&self, config: VolumeConfig) -> Result<Volume, VolumeError> {
        self.ensure(config, Durability::Synced).await
    }

    pub(crate) async fn ensure(
        &self,
        config: VolumeConfig,
        durability: Durability,
    ) -> Result<Volume, VolumeError> {
        check_name(&config.name)?;
        let wanted = options::parse(&config.name, &config.options)?;
        loop {
            let entry =
                Arc::clone(self.entries().entry(config.name.clone()).or_insert_with(|| Entry::new(None)));
            let _work = entry.work.lock().await;
            // One that was removed meanwhile is no longer in the table: take the new one.
            if !self.entries().get(&config.name).is_some_and(|known| Arc::ptr_eq(known, &entry)) {
                continue;
            }
            if let Some(record) = entry.usable() {
                if !config.options.is_empty() && config.options != record.options {
                    return Err(VolumeError::Exists { name: config.name });
                }
                return Ok(self.show(&config.name, record));
            }
            let made = self.make(&config, &entry, wanted.size, durability).await;
            if made.is_err()
                && let Err(left) = self.erase(&config.name, &entry, Durability::Volatile).await
            {
                tracing::warn!(volume = config.name, %left, "cannot undo a failed volume; the next start will");
            }
            if made.is_ok() {
                self.tell("create", &config.name);
            }
            return made;
        }
    }

    async fn make(
        &self,
        config: &VolumeConfig,
        entry: &Entry,
        size: Option<u64>,
        durability: Durability,
    ) -> Result<Volume, VolumeError> {
        let mut record = Record {
            phase: Phase::Making,
            labels: config.labels.clone(),
            options: config.options.clone(),
            anonymous: config.anonymous,
            created_at_ms: crate::container::create::now_ms(),
            filled: false,
            project: size.map(|_| self.free_project()),
        };
        // Losing this one loses nothing: what it announces is then found to be in no record.
        self.store(&config.name, entry, record.clone(), Durability::Volatile).await?;
        let (this, name) = (self.clone(), config.name.clone());
        let limit = size.zip(record.project);
        blocking(move || directory::make(&this, &name, limit)).await?;
        record.phase = Phase::Ready;
        self.store(&config.name, entry, record.clone(), durability).await?;
        Ok(self.show(&config.name, record))
    }

    fn free_project(&self) -> u32 {
        let entries = self.snapshot();
        let taken: BTreeSet<u32> =
            entries.iter().filter_map(|(_, entry)| entry.record().as_ref().and_then(|r| r.project)).collect();
        let first = self.inner.first_project;
        (first..=first | 0x7fff).find(|project| !taken.contains(project)).unwrap_or(first)
    }

    /// Copies what the image of these layers, topmost first, has at `target` into the volume, if that is empty and
    /// was never filled.
    ///
    /// # Errors
    /// When there is no such volume, or the copy fails; it is empty again then.
    pub(crate) async fn fill(
        &self,
        name: &str,
        layers: Vec<PathBuf>,
        target: &str,
    ) -> Result<(), VolumeError> {
        let entry = self.entry(name)?;
        let _work = entry.work.lock().await;
        let mut record = entry.usable().ok_or_else(|| VolumeError::NotFound(name.to_owned()))?;
        let is_plain = !options::parse(name, &record.options)?.is_elsewhere();
        let (this, of) = (self.clone(), name.to_owned());
        if record.filled || !is_plain || !blocking(move || directory::is_empty(&this, &of)).await? {
            return Ok(());
        }
        record.phase = Phase::Filling;
        self.store(name, &entry, record.clone(), Durability::Volatile).await?;
        let (this, of, target) = (self.clone(), name.to_owned(), target.to_owned());
        let copied = blocking(move || {
            let done = directory::fill(&this, &of, &layers, &target);
            if done.is_err() {
                directory::empty(&this, &of)?;
            }
            done
        });
        let copied = copied.await;
        record.phase = Phase::Ready;
        record.filled = matches!(copied, Ok(true));
        self.store(name, &entry, record, Durability::Volatile).await?;
        copied.map(drop)
    }

    /// Removes a volume, unless `users` names somebody who uses it.
    ///
    /// # Errors
    /// [`VolumeError::InUse`], [`VolumeError::NotFound`], or the host's.
    pub async fn remove(&self, name: &str, users: impl Fn() -> Vec<String>) -> Result<(), VolumeError> {
        let entry = self.entry(name)?;
        let _work = entry.work.lock().await;
        if entry.usable().is_none() {
            return Err(VolumeError::NotFound(name.to_owned()));
        }
        let containers = users();
        if !containers.is_empty() {
            return Err(VolumeError::InUse { name: name.to_owned(), containers });
        }
        self.erase(name, &entry, Durability::Synced).await?;
        self.tell("destroy", name);
        Ok(())
    }

    /// Takes away all that there is of a volume. The caller holds its `work` lock.
    async fn erase(&self, name: &str, entry: &Entry, durability: Durability) -> Result<(), VolumeError> {
        let record = entry.record().clone();
        if let Some(mut record) = record.clone() {
            record.phase = Phase::Removing;
            self.store(name, entry, record, Durability::Volatile).await?;
        }
        let (this, of) = (self.clone(), name.to_owned());
        let project = record.and_then(|record| record.project);
        let trash = blocking(move || directory::discard(&this, &of, project)).await?;
        self.inner.table.delete(name, durability).await?;
        self.entries().remove(name);
        *entry.record() = None;
        match trash {
            Some(trash) => blocking(move || directory::delete(&trash)).await,
            None => Ok(()),
        }
    }

    async fn store(
        &self,
        name: &str,
        entry: &Entry,
        record: Record,
        durability: Durability,
    ) -> Result<(), VolumeError> {
        *entry.record() = Some(record.clone());
        Ok(self.inner.table.put(name, &record, durability).await?)
    }

    /// One volume.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`].
    pub fn get(&self, name: &str) -> Result<Volume, VolumeError> {
        let record = self.entry(name)?.usable();
        record.map(|record| self.show(name, record)).ok_or_else(|| VolumeError::NotFound(name.to_owned()))
    }

    /// All volumes, by name.
    pub fn list(&self) -> Vec<Volume> {
        let usable =
            |(name, entry): (String, Arc<Entry>)| entry.usable().map(|record| self.show(&name, record));
        self.snapshot().into_iter().filter_map(usable).collect()
    }

    fn show(&self, name: &str, record: Record) -> Volume {
        Volume {
            name: name.to_owned(),
            labels: record.labels,
            options: record.options,
            anonymous: record.anonymous,
            mountpoint: self.data(name),
            created_at_ms: record.created_at_ms,
        }
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>, VolumeError> {
        self.entries().get(name).cloned().ok_or_else(|| VolumeError::NotFound(name.to_owned()))
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Vec<(String, Arc<Entry>)> {
        self.entries().iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))).collect()
    }

    fn of(&self, name: &str) -> PathBuf {
        self.inner.root.join("all").join(name)
    }

    fn data(&self, name: &str) -> PathBuf {
        self.of(name).join("data")
    }

    fn trash(&self) -> PathBuf {
        self.inner.root.join("trash")
    }

    fn fresh_trash(&self) -> PathBuf {
        self.trash().join(self.inner.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

/// Letters, digits, `_`, `.` and `-`, beginning with a letter or digit: also a directory's name.
///
/// # Errors
/// [`VolumeError::Name`].
pub(crate) fn check_name(name: &str) -> Result<(), VolumeError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && (2..=200).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(VolumeError::Name(name.chars().take(80).collect()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| VolumeError::Interrupted)?
}

fn host(action: &'static str, path: &Path, source: impl Into<std::io::Error>) -> VolumeError {
    VolumeError::Host { action, path: path.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests;
