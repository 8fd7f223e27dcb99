//! From a tree to an archive. The tree may change while it is walked, so each thing is marked by a descriptor first
//! and everything is asked of that descriptor; only regular files are ever opened. Memory is bounded: a directory is
//! read piece by piece, a file copied through one buffer, and only names of files with several links are remembered.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat, fstat, getxattr, listxattr, major, minor, openat};
use rustix::io::Errno;
use tar::EntryType;

use super::archive::{Entry, Writer};
use super::root::{child, is_unreal, link_text, mtime, place, reopen};
use super::{Copied, FilesError, printable};
use crate::snapshot::IdRange;

/// Bytes of remembered names of files with several links; beyond it such files are written once per name.
const REMEMBERED: usize = 32 << 20;

/// Directories inside each other. Each is a descriptor that is open meanwhile.
const DEPTH: usize = 900;

/// The longest extended attribute, and list of them; the kernel's own limit.
const MAX_XATTR: usize = 65_536;

/// What the kernel says instead of an id that has no place in a namespace.
const OVERFLOW: u32 = 65_534;

/// How owners are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owners {
    /// As this process sees them.
    AsSeen,
    /// Of the container whose ids begin there on the host.
    Of(IdRange),
}

impl Owners {
    fn id(self, id: u32) -> u32 {
        match self {
            Owners::AsSeen => id,
            Owners::Of(range) => id.checked_sub(range.base).filter(|id| *id < range.size).unwrap_or(OVERFLOW),
        }
    }
}

/// A failure to write an archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// Something in the tree.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Whoever takes the archive.
    #[error("the archive cannot be written: {0}")]
    Sink(#[from] io::Error),
}

/// Writes things and trees into one archive.
#[derive(Debug)]
pub(crate) struct Packer<W: Write> {
    writer: Writer<W>,
    owners: Owners,
    links: HashMap<(u64, u64), Vec<u8>>,
    remembered: usize,
    pub(crate) copied: Copied,
}

/// A directory whose entries are being written.
struct Level {
    /// What its entries' names begin with.
    prefix: Vec<u8>,
    fd: OwnedFd,
    entries: Dir,
    device: u64,
}

impl<W: Write> Packer<W> {
    pub(crate) fn new(sink: W, owners: Owners) -> Self {
        let writer = Writer::new(sink);
        Packer { writer, owners, links: HashMap::new(), remembered: 0, copied: Copied::default() }
    }

    /// Ends the archive.
    pub(crate) fn finish(self) -> io::Result<(W, Copied)> {
        Ok((self.writer.finish()?, self.copied))
    }

    /// Writes what `marked` marks as `name`, and all below it. The empty name stands for the archive's own root, which
    /// has no entry.
    pub(crate) fn tree(&mut self, marked: &OwnedFd, name: &[u8]) -> Result<(), PackError> {
        let failed = |fault| FilesError::system("read", name, fault);
        let stat = fstat(marked).map_err(failed)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !name.is_empty() {
            self.one(marked.as_fd(), &stat, name)?;
        }
        if !is_directory {
            return Ok(());
        }
        let prefix = if name.is_empty() { Vec::new() } else { [name, b"/"].concat() };
        let mut levels = vec![level(marked.as_fd(), prefix, stat.st_dev).map_err(failed)?];
        while let Some(top) = levels.last_mut() {
            let Some(entry) = top.entries.read() else {
                levels.pop();
                continue;
            };
            let failed = |fault| FilesError::system("list", &top.prefix, fault);
            let entry = entry.map_err(failed)?;
            let file_name = entry.file_name().to_bytes();
            if file_name == b"." || file_name == b".." {
                continue;
            }
            let path = [&top.prefix[..], file_name].concat();
            let (fd, stat) = match mark(top.fd.as_fd(), file_name) {
                Ok(found) => found,
                // Gone since it was listed.
                Err(Errno::NOENT) => continue,
                Err(fault) => return Err(FilesError::system("read", &path, fault).into()),
            };
            let device = top.device;
            self.one(fd.as_fd(), &stat, &path)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && self.is_wanted(fd.as_fd(), &stat, device, &path)
            {
                if levels.len() >= DEPTH {
                    let reason = format!("more than {DEPTH} directories inside each other are not copied");
                    return Err(FilesError::refused(&path, reason).into());
                }
                let prefix = [&path[..], b"/"].concat();
                let failed = |fault| FilesError::system("list", &path, fault);
                levels.push(level(fd.as_fd(), prefix, stat.st_dev).map_err(failed)?);
            }
        }
        Ok(())
    }

    /// Whether what is in a directory is copied: not where another file system begins that has no files.
    fn is_wanted(&mut self, fd: BorrowedFd<'_>, stat: &Stat, device: u64, path: &[u8]) -> bool {
        if stat.st_dev == device {
            return true;
        }
        match is_unreal(fd) {
            Ok(Some(kind)) => {
                self.copied.note(format!("what {} shows is {kind}, no files: left out", printable(path)));
                false
            }
            _ => true,
        }
    }

    /// Writes one thing, not what is in it.
    pub(crate) fn one(&mut self, fd: BorrowedFd<'_>, stat: &Stat, path: &[u8]) -> Result<(), PackError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let failed = |fault| FilesError::system("read", path, fault);
        let mut entry = Entry {
            path,
            mode: stat.st_mode,
            uid: self.owners.id(stat.st_uid),
            gid: self.owners.id(stat.st_gid),
            mtime: mtime(stat),
            ..Entry::default()
        };
        let xattrs = if matches!(kind, FileType::RegularFile | FileType::Directory) {
            xattrs(fd).map_err(failed)?
        } else {
            Vec::new()
        };
        entry.xattrs = &xattrs;
        match kind {
            FileType::RegularFile => return self.file(fd, stat, entry),
            FileType::Directory => {
                let path = [path, b"/"].concat();
                self.writer.entry(EntryType::Directory, &Entry { path: &path, ..entry }, io::empty())?;
            }
            FileType::Symlink => {
                let text = link_text(fd).map_err(failed)?;
                self.writer.entry(EntryType::Symlink, &Entry { link: &text, ..entry }, io::empty())?;
            }
            FileType::Fifo => drop(self.writer.entry(EntryType::Fifo, &entry, io::empty())?),
            FileType::CharacterDevice | FileType::BlockDevice => {
                let letter = if kind == FileType::BlockDevice { EntryType::Block } else { EntryType::Char };
                entry.device = (major(stat.st_rdev), minor(stat.st_rdev));
                self.writer.entry(letter, &entry, io::empty())?;
            }
            // A socket is its listener's, and nothing without it.
            _ => return Ok(()),
        }
        self.copied.entries += 1;
        Ok(())
    }

    fn file(&mut self, fd: BorrowedFd<'_>, stat: &Stat, mut entry: Entry<'_>) -> Result<(), PackError> {
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                let entry = Entry { link: first, xattrs: &[], ..entry };
                self.writer.entry(EntryType::Link, &entry, io::empty())?;
                self.copied.entries += 1;
                return Ok(());
            }
            if self.remembered < REMEMBERED {
                self.remembered += entry.path.len() + 64;
                self.links.insert(key, entry.path.to_vec());
            }
        }
        let file = match reopen(fd) {
            Ok(file) => File::from(file),
            Err(fault) => return Err(FilesError::system("open", entry.path, fault).into()),
        };
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        if !self.writer.entry(EntryType::Regular, &entry, file)? {
            self.copied.note(format!("{} became shorter while it was copied", printable(entry.path)));
        }
        self.copied.entries += 1;
        self.copied.bytes += entry.size;
        Ok(())
    }

    /// Writes an empty file that means something by its name.
    pub(crate) fn marker(&mut self, path: &[u8]) -> Result<(), PackError> {
        self.writer.entry(
            EntryType::Regular,
            &Entry { path, mode: 0o600, ..Entry::default() },
            io::empty(),
        )?;
        Ok(())
    }
}

fn mark(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<(OwnedFd, Stat)> {
    let fd = child(directory, name)?;
    let stat = fstat(&fd)?;
    Ok((fd, stat))
}

fn level(marked: BorrowedFd<'_>, prefix: Vec<u8>, device: u64) -> rustix::io::Result<Level> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(marked, ".", flags, Mode::empty())?;
    let entries = Dir::read_from(&fd)?;
    Ok(Level { prefix, fd, entries, device })
}

/// Extended attributes that are a file's own: those of users, and its capabilities.
fn xattrs(marked: BorrowedFd<'_>) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // A descriptor that only marks takes no such questions; its name in /proc does.
    let place = place(marked);
    let mut names = [0_u8; 4096];
    let mut many = Vec::new();
    let names: &[u8] = match listxattr(place.as_str(), &mut names) {
        Ok(length) => names.get(..length).unwrap_or_default(),
        Err(Errno::RANGE) => {
            many.resize(MAX_XATTR, 0);
            let length = listxattr(place.as_str(), &mut many)?;
            many.get(..length).unwrap_or_default()
        }
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(fault) => return Err(fault),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| is_own(name)) {
        let mut value = vec![0; MAX_XATTR];
        match getxattr(place.as_str(), name, &mut value) {
            Ok(length) => value.truncate(length),
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            Err(fault) => return Err(fault),
        }
        if name == CAPABILITY {
            value = plain_capability(value);
        }
        found.push((name.to_vec(), value));
    }
    Ok(found)
}

const CAPABILITY: &[u8] = b"security.capability";

fn is_own(name: &[u8]) -> bool {
    name == CAPABILITY || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// File capabilities without the user namespace they were given in (`struct vfs_ns_cap_data`, revision 3, becomes
/// revision 2): whoever unpacks the archive gives them in its own.
fn plain_capability(value: Vec<u8>) -> Vec<u8> {
    match value.first_chunk::<4>().copied().map(u32::from_le_bytes) {
        Some(magic) if magic >> 24 == 3 && value.len() == 24 => {
            let revision_2 = (magic & 0x00ff_ffff) | 0x0200_0000;
            [&revision_2.to_le_bytes(), value.get(4..20).unwrap_or_default()].concat()
        }
        _ => value,
    }
}
