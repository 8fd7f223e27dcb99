//! From an archive to a tree: what `cp` brings into a container. Runs with the rights of the container's root, below
//! its root directory. Parents are looked up from there for each directory of the archive anew, so a link of the
//! container leads to where it leads inside; what is created is created under one plain name in an open directory.
//!
//! As with Docker a directory that exists is merged and keeps its mode, anything else is replaced, and neither takes
//! the place of the other.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fsetxattr, fstat, ftruncate, futimens, linkat, makedev, mkdirat, mknodat, openat, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, pwrite};

use super::root::{Root, child, is_unreal, place};
use super::{Copied, FilesError, printable};
use crate::image::{ArchiveEntry, ArchiveName, ArchiveReader, EntryKind, Limits, UnpackError};

/// Runs of zeros of this length become holes.
const HOLE: usize = 4096;

/// Directories whose time is set at the end; those beyond have the time of the copy.
const TIMES: usize = 100_000;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Unpacks archives into one directory.
#[derive(Debug)]
pub(super) struct Placer<'r> {
    root: &'r Root,
    /// The directory, from the container's root, ending in a slash.
    base: Vec<u8>,
    keep_owners: bool,
    limits: Limits,
    /// The directory of the previous entry.
    parent: Option<(Vec<u8>, OwnedFd)>,
    times: Vec<(Vec<u8>, (i64, u32))>,
    pub(super) copied: Copied,
}

impl<'r> Placer<'r> {
    pub(super) fn new(root: &'r Root, path: &[u8], keep_owners: bool) -> Result<Self, FilesError> {
        let found = root.find(path, true).map_err(|fault| FilesError::system("find", path, fault))?;
        let stat = fstat(&found).map_err(|fault| FilesError::system("look at", path, fault))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(FilesError::refused(path, "not a directory"));
        }
        check_real(found.as_fd(), path)?;
        let limits = Limits { entries: u64::MAX, total_bytes: u64::MAX, depth: 1024, ..Limits::default() };
        Ok(Placer {
            root,
            base: [path, b"/"].concat(),
            keep_owners,
            limits,
            parent: None,
            times: Vec::new(),
            copied: Copied::default(),
        })
    }

    /// Unpacks one archive.
    pub(super) fn unpack(&mut self, source: impl BufRead) -> Result<(), FilesError> {
        let mut archive = ArchiveReader::new(source, &self.limits);
        loop {
            let entry = match archive.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(fault) => return Err(self.partly(fault)),
            };
            if let Err(fault) = self.entry(&entry, &mut archive) {
                return Err(self.partly(fault));
            }
            self.copied.entries += 1;
            self.copied.bytes += entry.size;
        }
        for (path, mtime) in std::mem::take(&mut self.times).into_iter().rev() {
            // What is there by now may be something else, or nothing: then it has no time to set.
            if let Ok(directory) = self.root.directory(&path) {
                let _ = futimens(&directory, &times(mtime));
            }
        }
        Ok(())
    }

    fn partly(&self, fault: impl std::fmt::Display) -> FilesError {
        FilesError::Partly { reason: fault.to_string(), done: self.copied.clone() }
    }

    fn entry<R: BufRead>(
        &mut self,
        entry: &ArchiveEntry,
        archive: &mut ArchiveReader<R>,
    ) -> Result<(), FilesError> {
        let name =
            ArchiveName::parse(&entry.path, &self.limits).map_err(|fault| from(&entry.path, &fault))?;
        if name.is_root() {
            // The directory itself, which is there.
            return Ok(());
        }
        let parent = self.parent(name.parent())?;
        let directory = parent.as_fd();
        let made = match entry.kind {
            EntryKind::Directory => self.directory(directory, entry, &name),
            EntryKind::File => self.file(directory, entry, &name, archive),
            EntryKind::Symlink => {
                let make = || symlinkat(entry.link.as_slice(), directory, name.last());
                replace(directory, name.last(), make)
                    .map_err(|fault| system("create the link", entry, fault))
                    .and_then(|()| self.finish_name(directory, entry, name.last(), false))
            }
            EntryKind::Hardlink => self.hardlink(directory, entry, &name),
            EntryKind::Fifo => self.node(directory, entry, &name, FileType::Fifo, 0),
            EntryKind::Character { major, minor } => {
                self.node(directory, entry, &name, FileType::CharacterDevice, makedev(major, minor))
            }
            EntryKind::Block { major, minor } => {
                self.node(directory, entry, &name, FileType::BlockDevice, makedev(major, minor))
            }
        };
        self.parent = Some((name.parent().to_vec(), parent));
        made
    }

    /// The directory `path` below the base, made with its parents where it is missing.
    fn parent(&mut self, path: &[u8]) -> Result<OwnedFd, FilesError> {
        if let Some((_, open)) = self.parent.take_if(|(known, _)| known == path) {
            return Ok(open);
        }
        let full = [&self.base[..], path].concat();
        let failed = |fault| FilesError::system("open", &full, fault);
        match self.root.directory(&full) {
            Err(Errno::NOENT) if !path.is_empty() => {}
            outcome => return outcome.map_err(failed),
        }
        let (above, last) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
            None => (&[][..], path),
        };
        let above = self.parent(above)?;
        mkdirat(&above, last, Mode::from_raw_mode(0o755))
            .map_err(|fault| FilesError::system("create", &full, fault))?;
        let made = openat(&above, last, DIRECTORY, Mode::empty()).map_err(failed)?;
        fchmod(&made, Mode::from_raw_mode(0o755)).map_err(failed)?;
        Ok(made)
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        entry: &ArchiveEntry,
        name: &ArchiveName,
    ) -> Result<(), FilesError> {
        match mkdirat(parent, name.last(), Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return match is_directory(parent, name.last()) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(FilesError::refused(
                        &entry.path,
                        "what is there is no directory, and a directory does not take its place",
                    )),
                    Err(fault) => Err(system("look at", entry, fault)),
                };
            }
            Err(fault) => return Err(system("create", entry, fault)),
        }
        let made = openat(parent, name.last(), DIRECTORY, Mode::empty())
            .map_err(|fault| system("open", entry, fault))?;
        self.finish_open(made.as_fd(), entry)?;
        if self.times.len() < TIMES {
            self.times.push(([&self.base[..], name.as_bytes()].concat(), entry.mtime));
        }
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        parent: BorrowedFd<'_>,
        entry: &ArchiveEntry,
        name: &ArchiveName,
        archive: &mut ArchiveReader<R>,
    ) -> Result<(), FilesError> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let make = || openat(parent, name.last(), flags | OFlags::CREATE | OFlags::EXCL, mode);
        let file = match replace(parent, name.last(), make) {
            // Something is mounted there, as /etc/hosts is: it can be written, not replaced.
            Err(Errno::BUSY) => {
                open_mounted(parent, name.last()).map_err(|fault| system("open", entry, fault))?
            }
            outcome => outcome.map_err(|fault| system("create", entry, fault))?,
        };
        let failed = |fault| system("write", entry, fault);
        let mut at = 0_u64;
        archive.copy_data::<Stopped>(|piece| {
            for block in piece.chunks(HOLE) {
                if block.iter().any(|byte| *byte != 0) {
                    write_at(&file, block, at).map_err(|fault| Stopped(failed(fault)))?;
                }
                at += block.len() as u64;
            }
            Ok(())
        })?;
        ftruncate(&file, entry.size).map_err(failed)?;
        self.finish_open(file.as_fd(), entry)?;
        futimens(&file, &times(entry.mtime)).map_err(|fault| system("set the time of", entry, fault))
    }

    fn hardlink(
        &mut self,
        parent: BorrowedFd<'_>,
        entry: &ArchiveEntry,
        name: &ArchiveName,
    ) -> Result<(), FilesError> {
        let target =
            ArchiveName::parse(&entry.link, &self.limits).map_err(|fault| from(&entry.link, &fault))?;
        if target.is_root() || target == *name {
            return Err(FilesError::refused(&entry.path, "its hard link leads to no file of the archive"));
        }
        let above = [&self.base[..], target.parent()].concat();
        let above = self.root.directory(&above).map_err(|fault| FilesError::system("open", &above, fault))?;
        let make = || linkat(&above, target.last(), parent, name.last(), AtFlags::empty());
        replace(parent, name.last(), make).map_err(|fault| system("link", entry, fault))
    }

    fn node(
        &mut self,
        parent: BorrowedFd<'_>,
        entry: &ArchiveEntry,
        name: &ArchiveName,
        kind: FileType,
        device: u64,
    ) -> Result<(), FilesError> {
        let make = || mknodat(parent, name.last(), kind, Mode::from_raw_mode(0o600), device);
        match replace(parent, name.last(), make) {
            Ok(()) => self.finish_name(parent, entry, name.last(), true),
            // What the container's root may not make, a copy does not make for it.
            Err(Errno::PERM) if kind != FileType::Fifo => {
                let path = printable(&entry.path);
                self.copied.note(format!("{path} is a device, which this container may not have: left out"));
                Ok(())
            }
            Err(fault) => Err(system("create", entry, fault)),
        }
    }

    fn owner(&self, entry: &ArchiveEntry) -> (Option<Uid>, Option<Gid>) {
        let (uid, gid) = if self.keep_owners { (entry.uid, entry.gid) } else { (0, 0) };
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    /// Owner, mode and attributes of what was just made and is open.
    fn finish_open(&mut self, fd: BorrowedFd<'_>, entry: &ArchiveEntry) -> Result<(), FilesError> {
        let (uid, gid) = self.owner(entry);
        // The owner first: changing it drops setuid bits and file capabilities.
        fchown(fd, uid, gid).map_err(|fault| self.owner_refused(entry, fault))?;
        fchmod(fd, Mode::from_raw_mode(entry.mode))
            .map_err(|fault| system("set the mode of", entry, fault))?;
        for (name, value) in &entry.xattrs {
            match fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(fault) => self.copied.note(format!(
                    "the attribute {} of {} is not kept: {}",
                    printable(name),
                    printable(&entry.path),
                    std::io::Error::from(fault)
                )),
            }
        }
        Ok(())
    }

    /// Owner, mode and time of what was just made under a name and is not to be opened.
    fn finish_name(
        &self,
        parent: BorrowedFd<'_>,
        entry: &ArchiveEntry,
        name: &[u8],
        mode: bool,
    ) -> Result<(), FilesError> {
        let (uid, gid) = self.owner(entry);
        chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|fault| self.owner_refused(entry, fault))?;
        if mode {
            let marked = child(parent, name).map_err(|fault| system("open", entry, fault))?;
            chmodat(CWD, place(marked.as_fd()), Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .map_err(|fault| system("set the mode of", entry, fault))?;
        }
        utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|fault| system("set the time of", entry, fault))
    }

    fn owner_refused(&self, entry: &ArchiveEntry, fault: Errno) -> FilesError {
        if fault == Errno::INVAL && self.keep_owners {
            let reason = format!(
                "its owner {}:{} is none of the container's ids; copy without --archive",
                entry.uid, entry.gid
            );
            return FilesError::refused(&entry.path, reason);
        }
        system("set the owner of", entry, fault)
    }
}

/// Refuses a place whose files are the kernel's.
pub(super) fn check_real(marked: BorrowedFd<'_>, path: &[u8]) -> Result<(), FilesError> {
    match is_unreal(marked) {
        Ok(None) => Ok(()),
        Ok(Some(kind)) => Err(FilesError::refused(
            path,
            format!("it lies in {kind}, which shows the kernel's state, no files"),
        )),
        Err(fault) => Err(FilesError::system("look at", path, fault)),
    }
}

/// Makes something under a name; what is there and no directory goes first.
fn replace<T>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    make: impl Fn() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match make() {
        Err(Errno::EXIST) => {}
        outcome => return outcome,
    }
    unlinkat(parent, name, AtFlags::empty())?;
    make()
}

fn open_mounted(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::BUSY);
    }
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn is_directory(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<bool> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn write_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}

/// Why writing a file's data stopped: the archive's fault or the kernel's.
struct Stopped(FilesError);

impl From<UnpackError> for Stopped {
    fn from(fault: UnpackError) -> Self {
        Stopped(FilesError::Helper { reason: fault.to_string() })
    }
}

impl From<Stopped> for FilesError {
    fn from(stopped: Stopped) -> Self {
        stopped.0
    }
}

fn system(action: &str, entry: &ArchiveEntry, fault: Errno) -> FilesError {
    if fault == Errno::ISDIR {
        let reason = "a directory is there, and something that is none does not take its place";
        return FilesError::refused(&entry.path, reason);
    }
    FilesError::system(action, &entry.path, fault)
}

fn from(path: &[u8], fault: &UnpackError) -> FilesError {
    FilesError::refused(path, fault.to_string())
}
