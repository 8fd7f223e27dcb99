//! The files of a container's log by name: the one that is written, and the rotation that renames the others. Where the
//! agent compresses them, names change under a lock. The keeper never waits for it: a rotation is put off meanwhile,
//! and done anyway when the file has grown to twice its size.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::log::Layout;

/// Where the files are.
#[derive(Debug)]
pub(super) struct Files {
    dir: OwnedFd,
    layout: Layout,
    id: String,
    /// What is locked while names change, where somebody else changes them too.
    lock: Option<OwnedFd>,
}

impl Files {
    pub(super) fn open(dir: BorrowedFd<'_>, layout: Layout, id: &str, compressed: bool) -> io::Result<Files> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = if compressed { Some(openat(dir, ".", flags, Mode::empty())?) } else { None };
        Ok(Files { dir: dir.try_clone_to_owned()?, layout, id: id.to_owned(), lock })
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn open_current(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name = self.layout.file(&self.id, 0);
        Ok(openat(&self.dir, name, flags, Mode::from_raw_mode(0o600))?)
    }

    /// Keeps so many old files; `false` when the names are held, unless it `must` be.
    pub(super) fn rotate(&self, kept: u32, must: bool) -> io::Result<bool> {
        if let Some(lock) = &self.lock {
            match flock(lock, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK | Errno::INTR) if !must => return Ok(false),
                // At worst a file is compressed once more, or read twice.
                Ok(()) | Err(_) => {}
            }
        }
        let done = self.rename_all(kept);
        if let Some(lock) = &self.lock {
            // It may not have been ours.
            let _ = flock(lock, FlockOperation::Unlock);
        }
        done.map(|()| true)
    }

    fn rename_all(&self, kept: u32) -> io::Result<()> {
        let plain = |number| self.layout.file(&self.id, number);
        let packed = |number| self.layout.compressed(&self.id, number);
        if kept == 0 {
            return Ok(unlinkat(&self.dir, plain(0), AtFlags::empty())?);
        }
        if self.lock.is_some() {
            absent_is_fine(unlinkat(&self.dir, plain(kept), AtFlags::empty()))?;
            absent_is_fine(unlinkat(&self.dir, packed(kept), AtFlags::empty()))?;
        }
        for number in (1..kept).rev() {
            absent_is_fine(self.rename(plain(number), plain(number + 1)))?;
            if self.lock.is_some() {
                absent_is_fine(self.rename(packed(number), packed(number + 1)))?;
            }
        }
        Ok(self.rename(plain(0), plain(1))?)
    }

    fn rename(&self, from: String, to: String) -> Result<(), Errno> {
        renameat(self.dir.as_fd(), from, self.dir.as_fd(), to)
    }
}

fn absent_is_fine(done: Result<(), Errno>) -> io::Result<()> {
    match done {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
