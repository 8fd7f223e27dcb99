//! Files of containers: copying them in and out, what a container changed, and its changes as a layer.
//!
//! Two kinds of work with two kinds of rights:
//!
//! - **Copying** looks names up in a tree that the container may change at the same moment. It is done by a helper,
//!   a process of one thread that the engine starts for one copy (`copier.rs`). The helper enters the container's user
//!   namespace, so that it has the rights of the container's root and no more, and keeps one descriptor of the
//!   container's root directory, from which every look-up starts with `openat2(RESOLVE_IN_ROOT)`. It never calls
//!   `chroot`, never executes or loads anything, and can be killed at any time. It sees the container's own mounts.
//! - **Changes** are read from the writable directory of the container's overlay (`changes.rs`, `layer.rs`), which
//!   belongs to the engine. Nothing there is looked up by a path that the container chose.
//!
//! A container that does not run is given a process of its own for the copy: the keeper makes everything up to, not
//! including, the execution of a program (`view.rs`).
//!
//! Archives are read by the strict parser of `image/unpack` and written by the `tar` crate (`archive.rs`).

use serde::{Deserialize, Serialize};

pub(crate) mod archive;
pub(crate) mod changes;
mod copier;
pub(crate) mod job;
pub(crate) mod layer;
mod pack;
mod place;
mod root;
pub(crate) mod session;
pub(crate) mod view;

pub use changes::{Change, ChangeKind};
pub use copier::main as helper_main;
pub use session::CopyStep;

/// What kind of thing a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that was not followed.
    Symlink,
    /// Anything else: a fifo, a socket, a device.
    Special,
}

/// One thing in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// The last part of its path as asked for, `/` for the root.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
    /// Type and permission bits, as `st_mode`.
    pub mode: u32,
    /// Length in bytes.
    pub size: u64,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// The text of a symbolic link, else empty.
    pub link: Vec<u8>,
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Entries: files, directories, links and the like.
    pub entries: u64,
    /// Bytes in regular files.
    pub bytes: u64,
    /// What was left out or differs, a sentence each; the first ones only.
    pub notes: Vec<String>,
}

/// Notes that are kept.
const NOTES: usize = 20;

impl Copied {
    fn note(&mut self, text: impl Into<String>) {
        if self.notes.len() < NOTES {
            self.notes.push(text.into());
        }
    }
}

/// Why files of a container could not be copied. Paths are those in the container, made printable.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
pub enum FilesError {
    /// There is nothing under the path.
    #[error("{path} is not in the container")]
    Missing {
        /// The path.
        path: String,
    },
    /// What is there does not fit what was asked.
    #[error("{path}: {reason}")]
    Refused {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The kernel refused.
    #[error("cannot {action} {path} in the container: {reason}")]
    System {
        /// What was tried.
        action: String,
        /// With what.
        path: String,
        /// The kernel's word.
        reason: String,
    },
    /// It failed when a part was done already.
    #[error("{reason}; {} entries ({} bytes) were copied before", done.entries, done.bytes)]
    Partly {
        /// What failed.
        reason: String,
        /// What was done.
        done: Copied,
    },
    /// The process that copies failed.
    #[error("the process that copies files of a container: {reason}")]
    Helper {
        /// How.
        reason: String,
    },
}

impl FilesError {
    fn system(action: &str, path: &[u8], fault: rustix::io::Errno) -> Self {
        match fault {
            rustix::io::Errno::NOENT => FilesError::Missing { path: printable(path) },
            fault => FilesError::System {
                action: action.to_owned(),
                path: printable(path),
                reason: std::io::Error::from(fault).to_string(),
            },
        }
    }

    fn refused(path: &[u8], reason: impl Into<String>) -> Self {
        FilesError::Refused { path: printable(path), reason: reason.into() }
    }

    pub(crate) fn helper(reason: impl std::fmt::Display) -> Self {
        FilesError::Helper { reason: reason.to_string() }
    }
}

/// A path for a message: bounded, and without control characters that a terminal would obey.
pub(crate) fn printable(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).flat_map(char::escape_debug).collect()
}
