//! From an archive to files of this machine. The archive holds what a container says, so it counts as hostile: each
//! parent is opened beneath the directory that was asked for, no link on the way is followed, what is created is
//! created anew under one plain name. Devices are left out, and setuid bits unless owners are kept.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, ftruncate, futimens, linkat, mkdirat, mknodat, openat, openat2, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, pwrite};
use tar::{Entry, EntryType};

use super::{Copied, printable};

/// Runs of zeros of this length become holes.
const HOLE: usize = 4096;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What of the archive is kept beside the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Modes and times; everything belongs to whoever copies.
    Modes,
    /// Owners too, and setuid bits.
    Owners,
}

/// Unpacks one archive.
#[derive(Debug)]
pub struct Unpacker {
    base: OwnedFd,
    /// What takes the place of the first part of each name; empty: nothing does.
    name: Vec<u8>,
    keep: Keep,
    times: Vec<(Vec<u8>, Timestamps)>,
    /// What was done, also after an error.
    pub copied: Copied,
}

impl Unpacker {
    /// Unpacks into `directory`, which must exist, what the archive calls `<anything>/…` as `name/…`.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn new(directory: &Path, name: &[u8], keep: Keep) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let base = openat(CWD, directory, flags, Mode::empty()).map_err(|fault| {
            io::Error::other(format!("{}: {}", directory.display(), io::Error::from(fault)))
        })?;
        Ok(Self { base, name: name.to_vec(), keep, times: Vec::new(), copied: Copied::default() })
    }

    /// Does it.
    ///
    /// # Errors
    /// With the name of the entry that failed; those before it are there.
    pub fn run(&mut self, source: impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(source);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let given = entry.path_bytes().into_owned();
            let path = self.renamed(&given)?;
            if path.is_empty() {
                continue;
            }
            let size = entry.size();
            self.entry(&path, &mut entry)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", printable(&path))))?;
            self.copied.entries += 1;
            self.copied.bytes += size;
        }
        for (path, times) in std::mem::take(&mut self.times).into_iter().rev() {
            futimens(self.open(&path)?, &times)?;
        }
        Ok(())
    }

    /// A name of the archive with its first part exchanged, or refused.
    fn renamed(&self, given: &[u8]) -> io::Result<Vec<u8>> {
        let mut parts = given.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
        parts.next();
        let mut path = self.name.clone();
        for part in parts {
            if part == b".." || part.contains(&0) {
                return Err(io::Error::other(format!(
                    "the archive names {}, which is refused",
                    printable(given)
                )));
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        Ok(path)
    }

    /// A directory below the base; no link on the way is followed.
    fn open(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = if path.is_empty() { b"." } else { path };
        openat2(&self.base, path, DIRECTORY, Mode::empty(), resolve)
    }

    fn entry(&mut self, path: &[u8], entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
        let (parent, last) = split(path);
        let parent = self.open(parent).map_err(|fault| match fault {
            Errno::LOOP => io::Error::other("a directory above it is a link, which is not followed"),
            fault => fault.into(),
        })?;
        let parent = parent.as_fd();
        let times = times(entry)?;
        match entry.header().entry_type() {
            EntryType::Directory => return self.directory(parent, path, last, entry, &times),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                return self.file(parent, last, entry, &times);
            }
            EntryType::Symlink => {
                let text = entry.link_name_bytes().unwrap_or_default().into_owned();
                replace(parent, last, || symlinkat(text.as_slice(), parent, last))?;
            }
            EntryType::Link => {
                let target = self.renamed(&entry.link_name_bytes().unwrap_or_default())?;
                let (above, name) = split(&target);
                let above = self.open(above)?;
                replace(parent, last, || linkat(&above, name, parent, last, AtFlags::empty()))?;
                return Ok(());
            }
            EntryType::Fifo => {
                let mode = Mode::from_raw_mode(entry.header().mode()? & 0o777);
                replace(parent, last, || mknodat(parent, last, FileType::Fifo, mode, 0))?;
            }
            EntryType::Char | EntryType::Block => {
                self.copied.note(format!("{} is a device: left out", printable(path)));
                return Ok(());
            }
            other => {
                self.copied.note(format!("{} is of the unknown type {other:?}: left out", printable(path)));
                return Ok(());
            }
        }
        if let Some((uid, gid)) = self.owner(entry)? {
            chownat(parent, last, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(utimensat(parent, last, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &[u8],
        last: &[u8],
        entry: &mut Entry<'_, impl Read>,
        times: &Timestamps,
    ) -> io::Result<()> {
        match mkdirat(parent, last, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(parent, last, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    return Ok(());
                }
                return Err(io::Error::other(
                    "what is there is no directory, and a directory does not take its place",
                ));
            }
            Err(fault) => return Err(fault.into()),
        }
        let made = openat(parent, last, DIRECTORY, Mode::empty())?;
        self.finish(made.as_fd(), entry)?;
        if self.times.len() < 100_000 {
            self.times.push((path.to_vec(), times.clone()));
        }
        Ok(())
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        last: &[u8],
        entry: &mut Entry<'_, impl Read>,
        times: &Timestamps,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = replace(parent, last, || openat(parent, last, flags, mode))?;
        let mut buffer = vec![0; 64 * 1024];
        let mut at = 0_u64;
        loop {
            let count = entry.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            for block in buffer.get(..count).unwrap_or_default().chunks(HOLE) {
                if block.iter().any(|byte| *byte != 0) {
                    write_at(&file, block, at)?;
                }
                at += block.len() as u64;
            }
        }
        ftruncate(&file, at)?;
        self.finish(file.as_fd(), entry)?;
        Ok(futimens(&file, times)?)
    }

    fn owner(&self, entry: &Entry<'_, impl Read>) -> io::Result<Option<(Uid, Gid)>> {
        if self.keep != Keep::Owners {
            return Ok(None);
        }
        let id = |id: u64| u32::try_from(id).map_err(io::Error::other);
        Ok(Some((Uid::from_raw(id(entry.header().uid()?)?), Gid::from_raw(id(entry.header().gid()?)?))))
    }

    /// Owner, mode and attributes of what was just made and is open.
    fn finish(&mut self, fd: BorrowedFd<'_>, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
        if let Some((uid, gid)) = self.owner(entry)? {
            fchown(fd, Some(uid), Some(gid))?;
        }
        // A setuid program of the container's root must not become one of this user's.
        let bits = if self.keep == Keep::Owners { 0o7777 } else { 0o1777 };
        fchmod(fd, Mode::from_raw_mode(entry.header().mode()? & bits))?;
        let keep = self.keep;
        for record in entry.pax_extensions()?.into_iter().flatten() {
            let record = record?;
            let Some(name) = record.key_bytes().strip_prefix(b"SCHILY.xattr.") else { continue };
            let is_kept =
                name.starts_with(b"user.") || (keep == Keep::Owners && name == b"security.capability");
            if is_kept && fsetxattr(fd, name, record.value_bytes(), XattrFlags::empty()).is_err() {
                self.copied.note(format!("the attribute {} is not kept everywhere", printable(name)));
            }
        }
        Ok(())
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
        None => (&[], path),
    }
}

/// Makes something under a name; what is there and no directory goes first.
fn replace<T>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    make: impl Fn() -> rustix::io::Result<T>,
) -> io::Result<T> {
    match make() {
        Err(Errno::EXIST) => {}
        outcome => return Ok(outcome?),
    }
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {
            let reason = "a directory is there, and something that is none does not take its place";
            return Err(io::Error::other(reason));
        }
        outcome => outcome?,
    }
    Ok(make()?)
}

fn write_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(())
}

/// The time of an entry, with its fraction where a PAX record has one.
fn times(entry: &mut Entry<'_, impl Read>) -> io::Result<Timestamps> {
    let mut seconds = i64::try_from(entry.header().mtime()?).unwrap_or(0);
    let mut nanoseconds = 0;
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        if record.key_bytes() == b"mtime"
            && let Ok(text) = record.value()
            && let Some((whole, fraction)) = text.split_once('.')
            && let Ok(whole) = whole.parse::<i64>()
        {
            let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
            seconds = whole;
            nanoseconds =
                digits.fold(0, |sum: i64, digit| sum * 10 + i64::from(digit.saturating_sub(b'0').min(9)));
        }
    }
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Ok(Timestamps { last_access: time, last_modification: time })
}
