//! The contract of whatever keeps the Raft log.
//!
//! # Vocabulary
//!
//! * An **entry** is one change, at an *index* (1, 2, 3, ... without gaps) and of
//!   the *term* of the leader that made it.
//! * The **hard state** is what a voter must never forget: its term, whom it
//!   voted for in it, and how far it knows the log to be committed.
//! * The **voters** are the members of the group (raft's `ConfState`).
//! * A **snapshot** is the whole state after the entry at *its* index, as bytes,
//!   with that entry's term and the voters of that moment. It stands for every
//!   entry up to its index.
//! * A **batch** is what one turn of the driver wants kept: entries, a hard
//!   state, voters, any of them absent.
//! * **Durable** means: still there after the power was cut.
//!
//! # Lifecycle
//!
//! ```text
//!   open ─► load ─► append* ─► save_snapshot ─► compact ─► append* ─► ...
//!                       └────► install_snapshot (a leader sent one) ─► append*
//! ```
//!
//! 1. [`LogStore::load`] says what is there. A new store has no voters: whoever
//!    opens it first appends a batch that names them.
//! 2. [`LogStore::append`] makes a whole batch durable **before it returns**, or
//!    fails as a whole. Entries that start at or below the last index replace
//!    everything from there on (a follower whose leader changed).
//! 3. [`LogStore::save_snapshot`] may run on another thread while batches are
//!    appended. Once it returned, the entries up to its index are not needed
//!    any more, and [`LogStore::compact`] gives their room back; it keeps as
//!    many as the caller asks, for followers that are a little behind.
//! 4. [`LogStore::install_snapshot`] replaces the log: afterwards there are no
//!    entries, and the next one has the index after the snapshot.
//! 5. After [`LogError::Write`] the store refuses everything: whether the bytes
//!    of a failed write are on disk is unknowable, and the process must end.
//!
//! Damage is never repaired by forgetting: a store that finds bytes it wrote and
//! cannot read refuses to open ([`LogError::Damaged`]). The one exception is a
//! **torn tail**, the write that was under way when the power went: nobody was
//! told that it succeeded, so it is removed.
//!
//! # Worked example
//!
//! A single voter starts, commits one entry, and restarts:
//!
//! ```text
//! load()                          -> no voters, first 1, last 0
//! append{voters: [1]}
//! append{hard: term 1 vote 1, entries: [(1, term 1, "")]}
//! append{entries: [(2, term 1, "create web")]}
//!     -- kill -9, restart --
//! load()                          -> voters [1], term 1 vote 1, first 1, last 2
//! entries(1, 3)                   -> both
//! save_snapshot{index 2}; compact(2)
//! load()                          -> snapshot (2, term 1), first 3, last 2
//! ```
//!
//! Every implementation must pass the suite beside this file.

use std::fmt;
use std::path::{Path, PathBuf};

use raft::eraftpb::{ConfState, Entry, HardState};

/// A snapshot and what it stands for.
#[derive(Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Index of the last entry it contains.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// The members of the group at that entry.
    pub voters: ConfState,
    /// The state, encoded.
    pub data: Vec<u8>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({} of term {}, {} bytes)", self.index, self.term, self.data.len())
    }
}

/// What one append makes durable.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Consecutive entries; the first may replace existing ones.
    pub entries: Vec<Entry>,
    /// The new hard state.
    pub hard_state: Option<HardState>,
    /// The new members.
    pub voters: Option<ConfState>,
}

impl Batch {
    /// Nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.hard_state.is_none() && self.voters.is_none()
    }
}

/// What a store holds, without the entries themselves.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Contents {
    /// The last hard state that was appended.
    pub hard_state: HardState,
    /// The last voters that were appended; empty in a new store.
    pub voters: ConfState,
    /// Index of the first entry; one more than [`Contents::last`] when there is none.
    pub first: u64,
    /// Index of the last entry, or of the snapshot when no entry follows it.
    pub last: u64,
    /// Index and term of the newest snapshot; zeros when there is none.
    pub snapshot: (u64, u64),
}

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Something that was written cannot be read back.
    #[error(
        "the log is damaged: {}: {what}; nothing was changed. Restore the data directory from a backup; or move {} \
         away: this controller then joins its group afresh, or, if it is the only one, begins with an empty state",
        file.display(), directory.display()
    )]
    Damaged {
        /// The file with the damage.
        file: PathBuf,
        /// The directory that holds the log.
        directory: PathBuf,
        /// Where in the file, and what is wrong there.
        what: String,
    },
    /// The log was written by a version that this one does not understand.
    #[error("{} was written in format {found}, this controller understands {understood}; use the newer one", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u8,
        /// Ours.
        understood: u8,
    },
    /// A write or its fsync failed. What is on disk is unknown now.
    #[error("the log in {} could not be made durable: {why}; the controller ends, because it could not keep its word", path.display())]
    Write {
        /// File or directory.
        path: PathBuf,
        /// The operating system's words.
        why: String,
    },
    /// A file or directory could not be opened or read.
    #[error("{}: {why}", path.display())]
    Read {
        /// File or directory.
        path: PathBuf,
        /// The operating system's words.
        why: String,
    },
}

impl LogError {
    /// Damage in `file`, which lies directly in the directory of the log.
    pub fn damaged(directory: &Path, file: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), directory: directory.to_owned(), what: what.into() }
    }

    /// A failed write.
    pub fn write(path: &Path, why: impl fmt::Display) -> Self {
        Self::Write { path: path.to_owned(), why: why.to_string() }
    }

    /// A failed open or read.
    pub fn read(path: &Path, why: impl fmt::Display) -> Self {
        Self::Read { path: path.to_owned(), why: why.to_string() }
    }
}

/// Keeps a Raft log. See the top of this file for the words and the order of calls.
///
/// Methods take `&self` because the snapshot is written beside the appends; the driver's thread alone calls the rest.
pub trait LogStore: Send + Sync + fmt::Debug {
    /// What the store holds.
    fn load(&self) -> Result<Contents, LogError>;

    /// The entries `low..high`, of them as many as fit in `max_bytes` but at least one.
    /// The caller asks only for what [`LogStore::load`] says is there.
    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, LogError>;

    /// Makes the batch durable, whole, before it returns. An empty batch writes nothing.
    fn append(&self, batch: &Batch) -> Result<(), LogError>;

    /// Makes a snapshot of this controller's own state durable. The log stays as it is.
    /// A snapshot older than the one there is ignored.
    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), LogError>;

    /// Makes a leader's snapshot durable and replaces the log by it, hard state included.
    fn install_snapshot(&self, snapshot: &Snapshot, hard_state: &HardState) -> Result<(), LogError>;

    /// The newest snapshot.
    fn snapshot(&self) -> Result<Option<Snapshot>, LogError>;

    /// Forgets the entries up to and including `index`, which must be covered by a snapshot.
    fn compact(&self, index: u64) -> Result<(), LogError>;
}

#[cfg(test)]
pub(crate) mod suite;
