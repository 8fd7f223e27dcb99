//! Unpacking: a layer's tar becomes a directory that overlayfs can take as a lower. Every archive counts as hostile.
//!
//! `unpack/archive.rs` reads the archive with a strict parser: what two tar programs would read differently is
//! refused. `unpack/extract.rs` writes, through descriptors only: each parent is opened beneath the layer's root
//! with `openat2` and no symbolic link is ever followed, nothing is opened that existed before, and mode, owner and
//! attributes are set on the descriptor that was just created. So an archive can address nothing but its own layer.
//!
//! Whiteouts become overlay's own form here (`unpack/whiteout.rs`), which is why a layer needs no parent to be
//! unpacked and all layers of an image can be unpacked side by side.
//!
//! Deliberately absent: reading or running any file of an image, sparse files, and extended attributes other than
//! `security.capability` and `user.*`. A directory that an archive uses but does not list becomes root's, mode 0755: with
//! layers that know nothing of each other there is no lower layer to ask how it looks there. Layers that were made as
//! the difference of two trees, as Docker and BuildKit make them, always list theirs.

use std::io::BufRead;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use self::archive::Archive;
use self::extract::Extractor;

pub(crate) use self::archive::{Archive as ArchiveReader, Entry as ArchiveEntry, Kind as EntryKind};
pub use self::child::main as unpack_main;
pub use self::error::UnpackError;
pub(crate) use self::job::{Fault as WorkFault, Job};
pub use self::limits::Limits;
pub(crate) use self::name::Name as ArchiveName;
pub(crate) use self::worker::Unpacker;

mod archive;
mod child;
mod chunks;
mod error;
mod extract;
mod header;
mod inflate;
mod job;
mod limits;
mod metadata;
mod name;
mod pax;
mod whiteout;
mod worker;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod roundtrip;

/// What a layer came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes in regular files.
    pub bytes: u64,
}

/// Unpacks `source` into the empty directory `root`. Blocking. On error the directory holds a part; the caller throws
/// it away.
///
/// # Errors
/// [`UnpackError`] names the entry and what is wrong with it.
pub fn unpack(source: impl BufRead, root: BorrowedFd<'_>, limits: &Limits) -> Result<Unpacked, UnpackError> {
    let Written { unpacked, opaque } = write(source, root, limits)?;
    extract::mark_opaque(root, &opaque)?;
    Ok(unpacked)
}

/// A layer's directory but for what needs a right that whoever writes it does not have.
#[derive(Debug)]
struct Written {
    unpacked: Unpacked,
    /// Directories that hide what the layers below have in them.
    opaque: Vec<Vec<u8>>,
}

fn write(source: impl BufRead, root: BorrowedFd<'_>, limits: &Limits) -> Result<Written, UnpackError> {
    let mut archive = Archive::new(source, limits);
    let mut extractor = Extractor::new(root, limits)?;
    let mut unpacked = Unpacked::default();
    while let Some(entry) = archive.next_entry()? {
        unpacked.entries += 1;
        if unpacked.entries > limits.entries {
            return Err(UnpackError::Limit { what: "entries", limit: limits.entries });
        }
        unpacked.bytes = unpacked.bytes.saturating_add(entry.size);
        if unpacked.bytes > limits.total_bytes {
            return Err(UnpackError::Limit { what: "bytes in files", limit: limits.total_bytes });
        }
        extractor.extract(&entry, &mut archive)?;
    }
    let opaque = extractor.finish()?;
    Ok(Written { unpacked, opaque })
}
