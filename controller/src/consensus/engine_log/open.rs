//! Opening the log: look first, then let raft-engine in, then check what it found.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use raft::eraftpb::{ConfState, HardState};
use raft_engine::{Config, Engine, ReadableSize, RecoveryMode};

use super::position::Note;
use super::snapshot_file::{SnapshotFile, sync_directory};
use super::{Ends, EngineLog, GROUP, HARD_STATE, Inner, VOTERS, scan};
use crate::consensus::codec::EntryFormat;
use crate::consensus::log_store::{Contents, LogError};

/// A file is closed and the next one begun at this size.
const FILE_MEBIBYTES: u64 = 8;
/// Old files are removed when all together are larger than this.
const PURGE_MEBIBYTES: u64 = 16;

impl EngineLog {
    /// Opens or makes the log in `directory`; see [`crate::consensus::LogStore`] for what it promises.
    ///
    /// Only one process may have it open: the controller holds a lock on its data directory.
    ///
    /// # Errors
    /// [`LogError::Damaged`] names the file and what to do; nothing was changed then.
    pub fn open(directory: &Path) -> Result<Self, LogError> {
        let log = directory.join("log");
        make_directory(directory).and_then(|()| make_directory(&log)).map_err(|e| LogError::read(&log, e))?;
        let (note, synced) = Note::open(&directory.join("synced"))?;
        scan::check(directory, &log, synced)?;
        let snapshot = SnapshotFile::new(directory);
        let newest = snapshot.read()?.map_or((0, 0), |snapshot| (snapshot.index, snapshot.term));
        let ends = Arc::new(Ends::default());
        let engine = open_engine(directory, &log, &ends)?;
        // raft-engine syncs its directory for every file but the first.
        sync_directory(&log)
            .and_then(|()| sync_directory(directory))
            .map_err(|e| LogError::write(&log, e))?;
        let mut inner = Inner { contents: Contents::default(), engine: Some(engine) };
        inner.contents.snapshot = newest;
        let store = Self { directory: directory.to_owned(), ends, note, snapshot, inner: Mutex::new(inner) };
        store.look(&log)?;
        Ok(store)
    }

    /// Reads what is there and checks that it fits together.
    fn look(&self, log: &Path) -> Result<(), LogError> {
        let mut inner = self.inner();
        let (snapshot, snapshot_term) = inner.contents.snapshot;
        let engine = inner.engine.as_ref().ok_or_else(|| self.failed())?;
        let read = |error| self.unreadable(error);
        let hard_state =
            engine.get_message::<HardState>(GROUP, HARD_STATE).map_err(read)?.unwrap_or_default();
        let voters = engine.get_message::<ConfState>(GROUP, VOTERS).map_err(read)?.unwrap_or_default();
        let first = engine.first_index(GROUP).unwrap_or(snapshot + 1);
        let last = engine.last_index(GROUP).unwrap_or(snapshot);
        let same = snapshot < first
            || match engine.get_entry::<EntryFormat>(GROUP, snapshot).map_err(read)? {
                Some(entry) => entry.term == snapshot_term,
                None => false,
            };
        let damaged = |what: String| Err(LogError::damaged(&self.directory, log, what));
        if first > snapshot + 1 {
            return damaged(format!("entries {} to {} are missing", snapshot + 1, first - 1));
        }
        if hard_state.commit > last.max(snapshot) {
            return damaged(format!("it ends at entry {last}, but {} was committed", hard_state.commit));
        }
        if voters.voters.is_empty() && (snapshot > 0 || last > 0) {
            return damaged("it does not say who the voters are".to_owned());
        }
        let contents = Contents { hard_state, voters, first, last, snapshot: (snapshot, snapshot_term) };
        if last >= snapshot && same {
            inner.contents = contents;
            return Ok(());
        }
        tracing::warn!(
            snapshot,
            last,
            "a leader's snapshot was being installed when this controller ended: finishing"
        );
        self.replace(&mut inner, Contents { first: snapshot + 1, last: snapshot, ..contents })
    }
}

fn open_engine(directory: &Path, log: &Path, ends: &Arc<Ends>) -> Result<Engine, LogError> {
    let config = Config {
        dir: log.to_string_lossy().into_owned(),
        // `scan` has made sure that there is nothing in the tail but a torn write.
        recovery_mode: RecoveryMode::TolerateTailCorruption,
        recovery_threads: 1,
        target_file_size: ReadableSize::mb(FILE_MEBIBYTES),
        purge_threshold: ReadableSize::mb(PURGE_MEBIBYTES),
        enable_log_recycle: false,
        ..Config::default()
    };
    let open = || Engine::open_with_listeners(config, vec![Arc::clone(ends) as _]);
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(engine)) => Ok(engine),
        Ok(Err(raft_engine::Error::Io(error))) => Err(LogError::read(log, error)),
        // Another process has it open.
        Ok(Err(raft_engine::Error::Other(error))) => Err(LogError::read(log, error)),
        Ok(Err(error)) => Err(LogError::damaged(directory, log, error.to_string())),
        Err(_) => Err(LogError::damaged(directory, log, "its entries contradict each other")),
    }
}

/// Makes one directory, private to its owner, and its name durable.
fn make_directory(directory: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => directory.parent().map_or(Ok(()), sync_directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
