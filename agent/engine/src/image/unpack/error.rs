//! Why a layer was refused, or could not be written.

use std::io;

use rustix::io::Errno;

/// A failure to unpack a layer. Paths are those of the archive, made printable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UnpackError {
    /// The archive itself is not well-formed, or is ambiguous.
    #[error("the archive is malformed at entry {entry}: {reason}")]
    Malformed {
        /// The number of the entry, from 1.
        entry: u64,
        /// What is wrong.
        reason: String,
    },
    /// An entry that would reach outside the layer, or is otherwise not acceptable.
    #[error("entry {path} is refused: {reason}")]
    Refused {
        /// The entry's path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit was exceeded.
    #[error("the layer has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The system refused to write an entry.
    #[error("cannot {action} {path}: {fault}")]
    Write {
        /// What was tried.
        action: &'static str,
        /// The entry's path.
        path: String,
        /// What the system said.
        fault: Errno,
    },
    /// What the process that unpacks said of one of the above.
    #[error("{reason}")]
    Told {
        /// In its words.
        reason: String,
    },
    /// The source of the archive failed.
    #[error("cannot read the archive: {reason}")]
    Read {
        /// What the reader said.
        reason: String,
    },
}

impl UnpackError {
    pub(super) fn refused(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Refused { path: printable(path), reason: reason.into() }
    }

    pub(super) fn write(action: &'static str, path: &[u8], fault: Errno) -> Self {
        Self::Write { action, path: printable(path), fault }
    }
}

impl From<io::Error> for UnpackError {
    fn from(fault: io::Error) -> Self {
        Self::Read { reason: fault.to_string() }
    }
}

/// A path of an archive for a message: bounded, and without control characters that a terminal would obey.
fn printable(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).flat_map(char::escape_debug).collect()
}
