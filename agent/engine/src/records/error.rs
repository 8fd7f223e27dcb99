//! What can go wrong with the records, in words for the person who runs the agent.

use std::path::PathBuf;

/// A failure of the record store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordsError {
    /// Another process has the database open.
    #[error("{} is in use by another process: stop that agent, or choose another data directory", dir.display())]
    InUse {
        /// The directory of the records.
        dir: PathBuf,
    },
    /// The database cannot be opened or created.
    #[error("cannot open the records in {}: {reason}", dir.display())]
    Open {
        /// The directory of the records.
        dir: PathBuf,
        /// What the system or sled said.
        reason: String,
    },
    /// A read failed.
    #[error("cannot read the records in {}: {reason}", dir.display())]
    Read {
        /// The directory of the records.
        dir: PathBuf,
        /// What the system or sled said.
        reason: String,
    },
    /// A write or its sync failed. Nothing after it is accepted, since what is on the disk is no longer known.
    #[error("cannot write the records in {}: {reason}", dir.display())]
    Write {
        /// The directory of the records.
        dir: PathBuf,
        /// What the system or sled said.
        reason: String,
    },
    /// A value is over [`super::MAX_VALUE`].
    #[error("record {table}/{key} is {size} bytes long, the limit is 100000")]
    TooLarge {
        /// The table.
        table: &'static str,
        /// The key.
        key: String,
        /// Serialised size in bytes.
        size: usize,
    },
    /// A value does not fit the type it is read as or written from.
    #[error("record {table}/{key} is malformed: {reason}")]
    Malformed {
        /// The table.
        table: &'static str,
        /// The key.
        key: String,
        /// What the JSON parser said.
        reason: String,
    },
    /// The database was closed.
    #[error("the records are closed")]
    Closed,
}
