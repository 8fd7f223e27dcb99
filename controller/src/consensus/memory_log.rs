//! A log in memory, for the simulator and the driver's tests.
//!
//! It survives the driver that uses it, not the process: dropping a driver and
//! opening another one on the same log is a restart.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use raft::eraftpb::{ConfState, Entry, HardState};

use super::codec::entry_size;
use super::log_store::{Batch, Contents, LogError, LogStore, Snapshot};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryLog {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    hard_state: HardState,
    voters: ConfState,
    entries: VecDeque<Entry>,
    snapshot: Option<Snapshot>,
}

impl Inner {
    fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }

    fn first(&self) -> u64 {
        self.entries.front().map_or(self.snapshot_index() + 1, |entry| entry.index)
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore for MemoryLog {
    fn load(&self) -> Result<Contents, LogError> {
        let inner = self.inner();
        Ok(Contents {
            hard_state: inner.hard_state.clone(),
            voters: inner.voters.clone(),
            first: inner.first(),
            last: inner.entries.back().map_or(inner.snapshot_index(), |entry| entry.index),
            snapshot: inner.snapshot.as_ref().map_or((0, 0), |snapshot| (snapshot.index, snapshot.term)),
        })
    }

    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, LogError> {
        let inner = self.inner();
        let first = inner.first();
        let mut bytes = 0;
        let wanted = inner.entries.iter().skip_while(|entry| entry.index < low.max(first));
        let fitting = wanted.take_while(|entry| entry.index < high).take_while(|entry| {
            let nothing_yet = bytes == 0;
            bytes += entry_size(entry);
            nothing_yet || bytes <= max_bytes
        });
        Ok(fitting.cloned().collect())
    }

    fn append(&self, batch: &Batch) -> Result<(), LogError> {
        let mut inner = self.inner();
        if let Some(hard_state) = &batch.hard_state {
            inner.hard_state = hard_state.clone();
        }
        if let Some(voters) = &batch.voters {
            inner.voters = voters.clone();
        }
        if let Some(entry) = batch.entries.first() {
            while inner.entries.back().is_some_and(|last| last.index >= entry.index) {
                inner.entries.pop_back();
            }
            inner.entries.extend(batch.entries.iter().cloned());
        }
        Ok(())
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        let mut inner = self.inner();
        if snapshot.index > inner.snapshot_index() {
            inner.snapshot = Some(snapshot.clone());
        }
        Ok(())
    }

    fn install_snapshot(&self, snapshot: &Snapshot, hard_state: &HardState) -> Result<(), LogError> {
        let mut inner = self.inner();
        inner.entries.clear();
        inner.hard_state = hard_state.clone();
        inner.voters = snapshot.voters.clone();
        inner.snapshot = Some(snapshot.clone());
        Ok(())
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        Ok(self.inner().snapshot.clone())
    }

    fn compact(&self, index: u64) -> Result<(), LogError> {
        let mut inner = self.inner();
        let upto = index.min(inner.snapshot_index());
        while inner.entries.front().is_some_and(|first| first.index <= upto) {
            inner.entries.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::consensus::log_store::suite;

    #[test]
    fn the_memory_log_keeps_the_contract() {
        suite::run(|| {
            let log = Arc::new(MemoryLog::new());
            Box::new(move || Arc::clone(&log) as Arc<dyn LogStore>)
        });
    }
}
