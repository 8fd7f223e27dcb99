//! A log in memory that counts its writes, takes its time, and can be told to fail.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use controller::consensus::{Batch, Contents, LogError, LogStore, MemoryLog, Snapshot};
use raft::eraftpb::{Entry, HardState};

#[derive(Debug)]
pub(crate) struct Counted {
    inner: MemoryLog,
    delay: Duration,
    appends: AtomicU64,
    failing: AtomicBool,
}

impl Counted {
    /// Every append takes this long.
    pub(crate) fn slow(delay: Duration) -> Self {
        Self { inner: MemoryLog::new(), delay, appends: AtomicU64::new(0), failing: AtomicBool::new(false) }
    }

    /// How many appends there were. Each is one sync of a real log.
    pub(crate) fn appends(&self) -> u64 {
        self.appends.load(Ordering::SeqCst)
    }

    /// From now on no append succeeds.
    pub(crate) fn fail(&self) {
        self.failing.store(true, Ordering::SeqCst);
    }
}

impl LogStore for Counted {
    fn load(&self) -> Result<Contents, LogError> {
        self.inner.load()
    }

    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, LogError> {
        self.inner.entries(low, high, max_bytes)
    }

    fn append(&self, batch: &Batch) -> Result<(), LogError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(LogError::write("/nowhere".as_ref(), "input/output error"));
        }
        if !batch.is_empty() {
            self.appends.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(self.delay);
        }
        self.inner.append(batch)
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        self.inner.save_snapshot(snapshot)
    }

    fn install_snapshot(&self, snapshot: &Snapshot, hard_state: &HardState) -> Result<(), LogError> {
        self.inner.install_snapshot(snapshot, hard_state)
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        self.inner.snapshot()
    }

    fn compact(&self, index: u64) -> Result<(), LogError> {
        self.inner.compact(index)
    }
}
