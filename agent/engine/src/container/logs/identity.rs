//! Which file is which, while they are renamed, compressed and removed. A file that is held open keeps the number of its
//! inode from being given to another; one that was compressed says of which file it was made.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

/// A file of a log, whatever it is called now.
#[derive(Debug)]
pub(super) struct Identity {
    held: File,
    inode: u64,
    /// Of a compressed file: what it was made of.
    made_of: Option<Sealed>,
}

/// A file that is no longer written: its inode, and when it last was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) inode: u64,
    /// Nanoseconds since 1970.
    pub(super) written_ns: i128,
}

impl Sealed {
    pub(super) fn of(file: &File) -> io::Result<Sealed> {
        let found = file.metadata()?;
        let written_ns = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
        Ok(Sealed { inode: found.ino(), written_ns })
    }

    /// As the comment in a compressed file's head.
    pub(super) fn to_comment(self) -> String {
        format!("{} {}", self.inode, self.written_ns)
    }

    pub(super) fn from_comment(text: &[u8]) -> Option<Sealed> {
        let (inode, written_ns) = std::str::from_utf8(text).ok()?.split_once(' ')?;
        Some(Sealed { inode: inode.parse().ok()?, written_ns: written_ns.parse().ok()? })
    }
}

impl Identity {
    pub(super) fn of(file: &File, made_of: Option<Sealed>) -> io::Result<Identity> {
        Ok(Identity { held: file.try_clone()?, inode: file.metadata()?.ino(), made_of })
    }

    pub(super) fn try_clone(&self) -> io::Result<Identity> {
        Identity::of(&self.held, self.made_of)
    }

    pub(super) fn made_of(&self) -> Option<Sealed> {
        self.made_of
    }

    /// Whether both are the same file, or were before one was compressed.
    pub(super) fn is(&self, other: &Identity) -> bool {
        let sealed = |one: &Identity| one.made_of.or_else(|| Sealed::of(&one.held).ok());
        match (self.made_of, other.made_of) {
            (None, None) => self.inode == other.inode,
            _ => sealed(self) == sealed(other),
        }
    }
}
