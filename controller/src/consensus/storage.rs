//! The log as the raft crate wants to see it: [`raft::Storage`] over a [`LogStore`].
//!
//! raft asks for the first, last and snapshot index many times per step, so they
//! are kept here; so are the newest entries, which are read again to be applied
//! and to be sent to followers right after they were written. All of it is told,
//! never guessed: the driver calls [`LogView::appended`] and its sisters after the
//! shell has made the change durable.

use std::collections::VecDeque;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot as RaftSnapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use super::codec::{entry_size, to_raft};
use super::log_store::{Contents, LogError, LogStore};

/// Newest entries that are kept in memory.
const RECENT_ENTRIES: usize = 4096;
/// Bytes of them.
const RECENT_BYTES: u64 = 4 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct LogView {
    log: Arc<dyn LogStore>,
    hard_state: HardState,
    voters: ConfState,
    first: u64,
    last: u64,
    snapshot: (u64, u64),
    recent: VecDeque<Entry>,
    recent_bytes: u64,
}

impl LogView {
    /// Looks at the log.
    pub(super) fn open(log: Arc<dyn LogStore>) -> Result<Self, LogError> {
        let contents = log.load()?;
        let mut view = Self {
            log,
            hard_state: HardState::default(),
            voters: ConfState::default(),
            first: 0,
            last: 0,
            snapshot: (0, 0),
            recent: VecDeque::new(),
            recent_bytes: 0,
        };
        view.take(contents);
        if view.last >= view.first {
            // raft asks for the last term all the time.
            let last = view.log.entries(view.last, view.last + 1, u64::MAX)?;
            view.appended(&last);
        }
        Ok(view)
    }

    fn take(&mut self, contents: Contents) {
        self.hard_state = contents.hard_state;
        self.voters = contents.voters;
        self.first = contents.first;
        self.last = contents.last;
        self.snapshot = contents.snapshot;
        // The commit index is written lazily, with the next entries; a snapshot knows better.
        if self.hard_state.commit < self.snapshot.0 {
            self.hard_state.commit = self.snapshot.0;
            self.hard_state.term = self.hard_state.term.max(self.snapshot.1);
        }
    }

    /// Index of the last durable entry.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Index and term of the newest snapshot.
    pub(super) fn snapshot(&self) -> (u64, u64) {
        self.snapshot
    }

    /// The members of the group.
    pub(super) fn voters(&self) -> &ConfState {
        &self.voters
    }

    /// These entries are durable now.
    pub(super) fn appended(&mut self, entries: &[Entry]) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        while self.recent.back().is_some_and(|entry| entry.index >= first.index) {
            self.recent_bytes -= self.recent.pop_back().map_or(0, |entry| entry_size(&entry));
        }
        self.last = last.index;
        for entry in entries {
            self.recent_bytes += entry_size(entry);
            self.recent.push_back(entry.clone());
        }
        while self.recent.len() > RECENT_ENTRIES || self.recent.len() > 1 && self.recent_bytes > RECENT_BYTES
        {
            self.recent_bytes -= self.recent.pop_front().map_or(0, |entry| entry_size(&entry));
        }
    }

    /// There is a new snapshot, or the log was compacted. Of entries nothing new is taken: the driver has yet to be told.
    pub(super) fn compacted(&mut self) -> Result<(), LogError> {
        let contents = self.log.load()?;
        (self.first, self.snapshot) = (contents.first, contents.snapshot);
        Ok(())
    }

    /// A leader's snapshot replaced the log: look again.
    pub(super) fn reload(&mut self) -> Result<(), LogError> {
        let contents = self.log.load()?;
        self.take(contents);
        self.recent.clear();
        self.recent_bytes = 0;
        Ok(())
    }

    /// The entry, if it is among the newest.
    fn recent(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.recent.front()?.index)?;
        self.recent.get(usize::try_from(offset).ok()?)
    }
}

impl Storage for LogView {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.voters.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let max_bytes = max_size.into().unwrap_or(u64::MAX);
        if self.recent(low).is_none() {
            return self.log.entries(low, high, max_bytes).map_err(unreadable);
        }
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in (low..high).map_while(|index| self.recent(index)) {
            bytes += entry_size(entry);
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.snapshot.0 {
            return Ok(self.snapshot.1);
        }
        if let Some(entry) = self.recent(index) {
            return Ok(entry.term);
        }
        if index < self.first {
            return Err(Error::Store(StorageError::Compacted));
        }
        let found = self.log.entries(index, index + 1, u64::MAX).map_err(unreadable)?;
        found.first().map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last)
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<RaftSnapshot> {
        match self.log.snapshot().map_err(unreadable)? {
            Some(snapshot) if snapshot.index >= request_index => Ok(to_raft(snapshot)),
            _ => Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)),
        }
    }
}

/// raft stops at an error it does not know, which is right: what was written cannot be read.
fn unreadable(error: LogError) -> Error {
    Error::Store(StorageError::Other(Box::new(error)))
}
