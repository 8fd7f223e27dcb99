//! The one thread that writes: it takes what has queued up, applies it, flushes and syncs once, then answers all.
//!
//! Fed by the queue in [`super::Records`]; ends when the last handle is dropped, or when asked to. It owns the lock
//! on the directory. A failed flush or sync is final: afterwards nobody knows what is on the disk.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::sync::Syncer;
use super::{Durability, RecordsError, lock};

/// Requests that share one flush at most; more wait for the next, so the first of a long queue is not kept waiting.
const MAX_GROUP: usize = 256;
/// How long a volatile write may stay in memory.
const LAZY: Duration = Duration::from_millis(500);
/// sled's page cache. The records of a host are small, and the agent's memory is budgeted.
const CACHE_BYTES: u64 = 4 << 20;

/// One write; `None` removes the key.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// Writes that belong together, and who waits for them.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) operations: Vec<Operation>,
    pub(super) durability: Durability,
    pub(super) done: oneshot::Sender<Result<(), RecordsError>>,
    pub(super) _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(super) enum Message {
    Write(Request),
    Close(oneshot::Sender<()>),
}

pub(super) struct Writer {
    dir: PathBuf,
    slot: Arc<Mutex<Option<sled::Db>>>,
    database: sled::Db,
    syncer: Syncer,
    /// When volatile writes have to be on the disk.
    due: Option<Instant>,
    failed: Option<RecordsError>,
    /// Released last, when everything above is closed.
    lock: File,
}

impl Writer {
    /// Locks, opens or creates, and syncs the directory entries. Blocking.
    pub(super) fn open(dir: &Path) -> Result<Self, RecordsError> {
        let failed = |reason: String| RecordsError::Open { dir: dir.to_path_buf(), reason };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|fault| failed(fault.to_string()))?;
        let lock = lock::take(dir)?;
        let path = dir.join("sled");
        let database = sled::Config::new()
            .path(&path)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            // Only this thread flushes, so that every flush is followed by its sync.
            .flush_every_ms(None)
            .open()
            .map_err(|fault| failed(fault.to_string()))?;
        database.flush().map_err(|fault| failed(fault.to_string()))?;
        let syncer = Syncer::new(&path).map_err(|fault| failed(fault.to_string()))?;
        let slot = Arc::new(Mutex::new(Some(database.clone())));
        Ok(Self { dir: dir.to_path_buf(), slot, database, syncer, due: None, failed: None, lock })
    }

    /// Where readers find the database for as long as it is open.
    pub(super) fn database(&self) -> Arc<Mutex<Option<sled::Db>>> {
        Arc::clone(&self.slot)
    }

    /// How often acknowledged writes were brought to the disk.
    pub(super) fn syncs(&self) -> Arc<AtomicU64> {
        self.syncer.count()
    }

    /// Serves the queue until it ends.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = self.next(messages) else { break };
            let mut group = Vec::new();
            let mut message = Some(first);
            while let Some(current) = message.take() {
                match current {
                    Message::Write(request) => group.push(request),
                    Message::Close(done) => closing = Some(done),
                }
                if closing.is_none() && group.len() < MAX_GROUP {
                    message = messages.try_recv().ok();
                }
            }
            self.perform(group);
        }
        self.close();
        if let Some(done) = closing {
            // Nobody waiting any more is fine.
            let _ = done.send(());
        }
    }

    /// The next message; syncs lazily written records when their time has come. `None` when all handles are gone.
    fn next(&mut self, messages: &Receiver<Message>) -> Option<Message> {
        loop {
            let Some(due) = self.due else { return messages.recv().ok() };
            match messages.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    // A failure is kept and answers the next write.
                    let _ = self.sync();
                }
            }
        }
    }

    fn perform(&mut self, group: Vec<Request>) {
        let mut applied = Vec::with_capacity(group.len());
        let mut wanted = false;
        for request in group {
            match self.apply(request.operations) {
                Ok(()) => {
                    wanted |= request.durability == Durability::Synced;
                    applied.push(request.done);
                }
                Err(fault) => {
                    // The caller may have stopped waiting; here and below that is its own business.
                    let _ = request.done.send(Err(fault));
                }
            }
        }
        let outcome = if wanted { self.sync() } else { Ok(()) };
        if !wanted && !applied.is_empty() {
            self.due.get_or_insert_with(|| Instant::now() + LAZY);
        }
        for done in applied {
            let _ = done.send(outcome.clone());
        }
    }

    fn apply(&mut self, operations: Vec<Operation>) -> Result<(), RecordsError> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        let mut batch = sled::Batch::default();
        for Operation { key, value } in operations {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.database.apply_batch(batch).map_err(|fault| self.poison(fault.to_string()))
    }

    fn sync(&mut self) -> Result<(), RecordsError> {
        self.due = None;
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        self.database.flush().map_err(|fault| self.poison(fault.to_string()))?;
        self.syncer.after_flush().map_err(|fault| self.poison(fault.to_string()))
    }

    fn poison(&mut self, reason: String) -> RecordsError {
        let fault = RecordsError::Write { dir: self.dir.clone(), reason };
        tracing::error!(error = %fault, "the records take no further writes");
        self.failed = Some(fault.clone());
        fault
    }

    fn close(mut self) {
        // Errors were logged by poison(), and there is nobody left to tell.
        let _ = self.sync();
        let Self { slot, database, lock, .. } = self;
        if let Ok(mut slot) = slot.lock() {
            slot.take();
        }
        drop(database);
        drop(lock);
    }
}
