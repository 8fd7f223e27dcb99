//! The Raft log on disk: raft-engine for entries, one file for the snapshot.
//!
//! ```text
//!   D/raft/log/0000000000000001.raftlog ...   raft-engine: entries, hard state, voters
//!   D/raft/synced                             how far that is synced, see `position`
//!   D/raft/snapshot                           the newest snapshot, see `snapshot_file`
//! ```
//!
//! One append is one write and one `fdatasync`. raft-engine panics where a sync
//! fails; the panic is caught here and becomes [`LogError::Write`]. After it the
//! engine is leaked, so that its destructor does not write to a file whose
//! contents are unknown, and every call fails.
//!
//! Deliberately absent: reuse of old files (their stale contents would look like
//! entries behind a torn tail), and repair.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft::eraftpb::{Entry, HardState};
use raft_engine::internals::{EventListener, FileBlockHandle, LogQueue};
use raft_engine::{Command, Engine, LogBatch};

use super::codec::EntryFormat;
use super::log_store::{Batch, Contents, LogError, LogStore, Snapshot};
use position::{Note, Position};
use snapshot_file::SnapshotFile;

mod checksum;
mod open;
mod position;
mod scan;
mod snapshot_file;

/// raft-engine holds many groups; ours is this one.
const GROUP: u64 = 1;
const HARD_STATE: &[u8] = b"hard-state";
const VOTERS: &[u8] = b"voters";

/// See the module.
pub struct EngineLog {
    directory: PathBuf,
    ends: Arc<Ends>,
    note: Note,
    snapshot: SnapshotFile,
    inner: Mutex<Inner>,
}

/// What is in the log.
struct Inner {
    contents: Contents,
    /// None after a failed write.
    engine: Option<Engine>,
}

/// Learns from raft-engine where the last append ended.
#[derive(Default)]
struct Ends(Mutex<Option<Position>>);

impl EventListener for Ends {
    fn on_append_log_file(&self, handle: FileBlockHandle) {
        if handle.id.queue == LogQueue::Append {
            let length = u64::try_from(handle.len).unwrap_or(0);
            let end = Position { file: handle.id.seq, offset: handle.offset + length };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        }
    }
}

impl fmt::Debug for EngineLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineLog({})", self.directory.display())
    }
}

impl EngineLog {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one batch and syncs it, once. After an error the engine is gone.
    fn write(&self, inner: &mut Inner, batch: &mut LogBatch) -> Result<(), LogError> {
        let Some(engine) = &inner.engine else { return Err(self.failed()) };
        let written = match catch_unwind(AssertUnwindSafe(|| engine.write(batch, true))) {
            Ok(result) => result.map(drop).map_err(|error| LogError::write(&self.directory, error)),
            Err(_) => Err(LogError::write(&self.directory, "fdatasync failed, the line above says how")),
        };
        if written.is_err() {
            std::mem::forget(inner.engine.take());
            return written;
        }
        let end = *self.ends.0.lock().unwrap_or_else(PoisonError::into_inner);
        end.map_or(Ok(()), |end| self.note.write(end))
    }

    fn failed(&self) -> LogError {
        LogError::write(&self.directory, "an earlier write failed")
    }

    fn unreadable(&self, error: raft_engine::Error) -> LogError {
        match error {
            raft_engine::Error::Io(error) => LogError::read(&self.directory, error),
            other => LogError::damaged(&self.directory, &self.directory.join("log"), other.to_string()),
        }
    }

    /// Everything that is not an entry, as one batch must hold it to free older files.
    fn put_state(&self, batch: &mut LogBatch, contents: &Contents) -> Result<(), LogError> {
        let hard_state = batch.put_message(GROUP, HARD_STATE.to_vec(), &contents.hard_state);
        let voters = batch.put_message(GROUP, VOTERS.to_vec(), &contents.voters);
        hard_state.and(voters).map_err(|error| LogError::write(&self.directory, error))
    }

    /// Removes all entries, keeps `contents`, whose indices say so already.
    fn replace(&self, inner: &mut Inner, contents: Contents) -> Result<(), LogError> {
        let mut batch = LogBatch::default();
        batch.add_command(GROUP, Command::Clean);
        self.put_state(&mut batch, &contents)?;
        self.write(inner, &mut batch)?;
        inner.contents = contents;
        Ok(())
    }
}

impl LogStore for EngineLog {
    fn load(&self) -> Result<Contents, LogError> {
        Ok(self.inner().contents.clone())
    }

    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, LogError> {
        let inner = self.inner();
        let engine = inner.engine.as_ref().ok_or_else(|| self.failed())?;
        let mut entries = Vec::new();
        let limit = usize::try_from(max_bytes).ok();
        let fetched = engine.fetch_entries_to::<EntryFormat>(GROUP, low, high, limit, &mut entries);
        fetched.map_err(|error| self.unreadable(error))?;
        Ok(entries)
    }

    fn append(&self, batch: &Batch) -> Result<(), LogError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut inner = self.inner();
        let mut contents = inner.contents.clone();
        let mut out = LogBatch::default();
        let refused = |error| LogError::write(&self.directory, error);
        out.add_entries::<EntryFormat>(GROUP, &batch.entries).map_err(refused)?;
        if let Some(hard_state) = &batch.hard_state {
            contents.hard_state = hard_state.clone();
            out.put_message(GROUP, HARD_STATE.to_vec(), hard_state).map_err(refused)?;
        }
        if let Some(voters) = &batch.voters {
            contents.voters = voters.clone();
            out.put_message(GROUP, VOTERS.to_vec(), voters).map_err(refused)?;
        }
        if let Some(last) = batch.entries.last() {
            contents.last = last.index;
        }
        self.write(&mut inner, &mut out)?;
        inner.contents = contents;
        Ok(())
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        if snapshot.index <= self.inner().contents.snapshot.0 {
            return Ok(());
        }
        // Without the lock: this takes long, and appends go on.
        self.snapshot.write(snapshot)?;
        self.inner().contents.snapshot = (snapshot.index, snapshot.term);
        Ok(())
    }

    fn install_snapshot(&self, snapshot: &Snapshot, hard_state: &HardState) -> Result<(), LogError> {
        // A crash between the two leaves a snapshot beyond the log, which `open` brings to the same end.
        self.snapshot.write(snapshot)?;
        let contents = Contents {
            hard_state: hard_state.clone(),
            voters: snapshot.voters.clone(),
            first: snapshot.index + 1,
            last: snapshot.index,
            snapshot: (snapshot.index, snapshot.term),
        };
        self.replace(&mut self.inner(), contents)
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, LogError> {
        self.snapshot.read()
    }

    fn compact(&self, index: u64) -> Result<(), LogError> {
        let mut inner = self.inner();
        let first = index.min(inner.contents.snapshot.0) + 1;
        if first <= inner.contents.first {
            return Ok(());
        }
        let mut batch = LogBatch::default();
        batch.add_command(GROUP, Command::Compact { index: first });
        // Written again, so that the files they were in hold nothing alive.
        self.put_state(&mut batch, &inner.contents)?;
        self.write(&mut inner, &mut batch)?;
        inner.contents.first = first;
        let Some(engine) = &inner.engine else { return Err(self.failed()) };
        let purged = match catch_unwind(AssertUnwindSafe(|| engine.purge_expired_files())) {
            Ok(result) => result.map(drop).map_err(|error| LogError::write(&self.directory, error)),
            Err(_) => Err(LogError::write(&self.directory, "old files could not be removed")),
        };
        if purged.is_err() {
            std::mem::forget(inner.engine.take());
        }
        purged
    }
}

#[cfg(test)]
mod tests;
