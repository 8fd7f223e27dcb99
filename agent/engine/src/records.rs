//! The agent's node-local records: what containers, images and networks exist, as JSON values by table and key.
//!
//! This module and the files under `records/` are the only code that sees sled, because sled's `flush()` is not
//! an fsync: acknowledged writes did not survive power cuts until every flush was followed by a sync of the file
//! it writes (`records/sync.rs`). One thread (`records/writer.rs`) applies all writes, flushes and syncs once for
//! everything that arrived meanwhile, and only then acknowledges. Reads run on blocking threads.
//!
//! Deliberately absent: queries, indexes and transactions over reads. A table holds thousands of small records
//! and its owner keeps what it needs in memory; this is where they come back from after a crash.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, oneshot};

use self::writer::{Message, Operation, Request, Writer};

pub use self::error::RecordsError;

mod error;
mod lock;
mod sync;
mod writer;

/// Longest serialised value, in bytes. Beyond about 128 KiB sled moves values to files that it never syncs.
pub const MAX_VALUE: usize = 100 * 1000;

/// Writes that may wait for the writer at once; further callers wait for their turn.
const MAX_WAITING: usize = 1024;

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After it would survive a power cut.
    Synced,
    /// As soon as it is applied. A process that is killed may lose it for half a second after.
    Volatile,
}

/// A handle on an open database. Clones share it; it closes when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Records {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// Emptied by the writer when it ends, so that a closed database can be opened again.
    database: Arc<Mutex<Option<sled::Db>>>,
    queue: std::sync::mpsc::Sender<Message>,
    waiting: Arc<Semaphore>,
    syncs: Arc<AtomicU64>,
}

/// One named set of records.
#[derive(Debug, Clone)]
pub struct Table {
    records: Records,
    name: &'static str,
}

/// Writes that take effect together or not at all, over any number of tables.
#[derive(Debug, Default)]
pub struct Batch {
    operations: Vec<Operation>,
}

impl Records {
    /// Opens the database in `dir`, creating it if needed.
    ///
    /// # Errors
    /// [`RecordsError::InUse`] when another process holds it, [`RecordsError::Open`] otherwise.
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self, RecordsError> {
        let dir = dir.as_ref().to_path_buf();
        let opening = dir.clone();
        let writer = tokio::task::spawn_blocking(move || Writer::open(&opening))
            .await
            .map_err(|fault| RecordsError::Open { dir: dir.clone(), reason: fault.to_string() })??;
        let (database, syncs) = (writer.database(), writer.syncs());
        let (queue, messages) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("records".into())
            .spawn(move || writer.run(&messages))
            .map_err(|fault| RecordsError::Open { dir: dir.clone(), reason: fault.to_string() })?;
        let waiting = Arc::new(Semaphore::new(MAX_WAITING));
        Ok(Self { inner: Arc::new(Inner { dir, database, queue, waiting, syncs }) })
    }

    /// The table called `name`; it exists as soon as something is put into it.
    pub fn table(&self, name: &'static str) -> Table {
        Table { records: self.clone(), name }
    }

    /// Performs a batch.
    ///
    /// # Errors
    /// [`RecordsError::Write`] when the disk refuses; the database then takes no further writes.
    pub async fn commit(&self, batch: Batch, durability: Durability) -> Result<(), RecordsError> {
        let permit =
            Arc::clone(&self.inner.waiting).acquire_owned().await.map_err(|_| RecordsError::Closed)?;
        let (done, answer) = oneshot::channel();
        let request = Request { operations: batch.operations, durability, done, _permit: permit };
        self.inner.queue.send(Message::Write(request)).map_err(|_| RecordsError::Closed)?;
        answer.await.map_err(|_| RecordsError::Closed)?
    }

    /// Syncs what is pending and lets go of the directory; every later use answers [`RecordsError::Closed`].
    pub async fn close(&self) {
        let (done, answer) = oneshot::channel();
        if self.inner.queue.send(Message::Close(done)).is_ok() {
            // An error only says that the writer had ended already.
            let _ = answer.await;
        }
    }

    /// How many fsyncs writes have cost since the database was opened.
    pub fn syncs(&self) -> u64 {
        self.inner.syncs.load(Ordering::Relaxed)
    }

    /// Runs `read` on a blocking thread.
    async fn read<T, F>(&self, read: F) -> Result<T, RecordsError>
    where
        T: Send + 'static,
        F: FnOnce(&sled::Db) -> sled::Result<T> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || {
            let database = match inner.database.lock() {
                Ok(slot) => slot.clone(),
                Err(_) => None,
            };
            let database = database.ok_or(RecordsError::Closed)?;
            read(&database)
                .map_err(|fault| RecordsError::Read { dir: inner.dir.clone(), reason: fault.to_string() })
        })
        .await
        .map_err(|fault| RecordsError::Read { dir: self.inner.dir.clone(), reason: fault.to_string() })?
    }
}

impl Table {
    /// The record under `key`.
    ///
    /// # Errors
    /// When the disk cannot be read, or the record is not a `T`.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, RecordsError> {
        let full = full_key(self.name, key);
        let bytes = self.records.read(move |database| database.get(full)).await?;
        bytes.map(|bytes| self.decode(key, &bytes)).transpose()
    }

    /// Writes one record.
    ///
    /// # Errors
    /// [`RecordsError::TooLarge`], or as [`Records::commit`].
    pub async fn put<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        durability: Durability,
    ) -> Result<(), RecordsError> {
        let mut batch = Batch::default();
        batch.put(self, key, value)?;
        self.records.commit(batch, durability).await
    }

    /// Removes one record; removing what is not there is fine.
    ///
    /// # Errors
    /// As [`Records::commit`].
    pub async fn delete(&self, key: &str, durability: Durability) -> Result<(), RecordsError> {
        let mut batch = Batch::default();
        batch.delete(self, key);
        self.records.commit(batch, durability).await
    }

    /// Every record of the table, in the order of the keys.
    ///
    /// # Errors
    /// As [`Table::get`]; one record that does not parse fails the scan, because silently passing over a record
    /// would make what it describes an orphan.
    pub async fn scan<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>, RecordsError> {
        let prefix = full_key(self.name, "");
        let skip = prefix.len();
        let rows = self
            .records
            .read(move |database| database.scan_prefix(prefix).collect::<sled::Result<Vec<_>>>())
            .await?;
        rows.iter()
            .map(|(key, value)| {
                let key = String::from_utf8_lossy(key.get(skip..).unwrap_or_default()).into_owned();
                let value = self.decode(&key, value)?;
                Ok((key, value))
            })
            .collect()
    }

    fn decode<T: DeserializeOwned>(&self, key: &str, bytes: &[u8]) -> Result<T, RecordsError> {
        serde_json::from_slice(bytes).map_err(|fault| RecordsError::Malformed {
            table: self.name,
            key: key.to_owned(),
            reason: fault.to_string(),
        })
    }
}

impl Batch {
    /// Adds a write.
    ///
    /// # Errors
    /// [`RecordsError::TooLarge`] over [`MAX_VALUE`], [`RecordsError::Malformed`] when it has no JSON form.
    pub fn put<T: Serialize>(&mut self, table: &Table, key: &str, value: &T) -> Result<(), RecordsError> {
        let bytes = serde_json::to_vec(value).map_err(|fault| RecordsError::Malformed {
            table: table.name,
            key: key.to_owned(),
            reason: fault.to_string(),
        })?;
        if bytes.len() > MAX_VALUE {
            return Err(RecordsError::TooLarge { table: table.name, key: key.to_owned(), size: bytes.len() });
        }
        self.operations.push(Operation { key: full_key(table.name, key), value: Some(bytes) });
        Ok(())
    }

    /// Adds a removal.
    pub fn delete(&mut self, table: &Table, key: &str) {
        self.operations.push(Operation { key: full_key(table.name, key), value: None });
    }
}

/// Tables share one sled tree, which is what makes a batch over several of them atomic.
fn full_key(table: &str, key: &str) -> Vec<u8> {
    let mut full = Vec::with_capacity(table.len() + 1 + key.len());
    full.extend_from_slice(table.as_bytes());
    full.push(0);
    full.extend_from_slice(key.as_bytes());
    full
}

#[cfg(test)]
mod tests;
