//! Writes entries below one descriptor. Every rule of [`super`] that touches the file system is kept here.
//!
//! Parents are looked up with `openat2(BENEATH | NO_SYMLINKS | NO_XDEV)`, files are created with `O_EXCL`, what is in
//! the way is removed by name first. The directory of the previous entry stays open, since archives go through a
//! tree directory by directory. Times of directories are set at the end, when nothing changes them any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags, fchmod, fchown, fsetxattr, linkat,
    makedev, mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat,
};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use super::archive::{Archive, Entry, Kind};
use super::job::MAX_ANSWER;
use super::name::Name;
use super::whiteout::{self, Meaning, OPAQUE};
use super::{Limits, UnpackError, metadata};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What stands under a name.
enum Found {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

#[derive(Debug)]
pub(super) struct Extractor<'a> {
    root: BorrowedFd<'a>,
    limits: Limits,
    /// The directory of the previous entry.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Times to set at the end, by path; the last entry of a path wins.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    /// Directories that hide what is below them.
    opaque: BTreeSet<Vec<u8>>,
    /// Bytes that their paths take, at most, on their way to the agent.
    opaque_bytes: u64,
    remembered: usize,
}

impl<'a> Extractor<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, limits: &Limits) -> Result<Self, UnpackError> {
        fchmod(root, Mode::from_raw_mode(0o755))
            .map_err(|fault| UnpackError::write("set the mode of", b"/", fault))?;
        Ok(Self {
            root,
            limits: limits.clone(),
            parent: None,
            times: BTreeMap::new(),
            opaque: BTreeSet::new(),
            opaque_bytes: 0,
            remembered: 0,
        })
    }

    /// Writes one entry, taking its data from `archive`.
    pub(super) fn extract<R: BufRead>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<(), UnpackError> {
        let name = Name::parse(&entry.path, &self.limits)?;
        if name.is_root() {
            return self.root_entry(entry);
        }
        let refuse = |reason| UnpackError::refused(&entry.path, reason);
        match whiteout::meaning(name.parent(), name.last()).map_err(refuse)? {
            Meaning::Skip => Ok(()),
            Meaning::Opaque => self.opaque(entry, &name),
            Meaning::Hide(hidden) => self.hide(entry, &name, hidden),
            Meaning::Plain => match entry.kind {
                Kind::File => self.file(entry, &name, archive),
                Kind::Directory => self.directory(entry, &name),
                Kind::Symlink => self.symlink(entry, &name),
                Kind::Hardlink => self.hardlink(entry, &name),
                Kind::Character { .. } | Kind::Block { .. } | Kind::Fifo => self.node(entry, &name),
            },
        }
    }

    /// Sets the times that had to wait; answers which directories are opaque.
    pub(super) fn finish(mut self) -> Result<Vec<Vec<u8>>, UnpackError> {
        for (path, mtime) in std::mem::take(&mut self.times) {
            match self.open_beneath(&path) {
                Ok(dir) => metadata::apply_times(dir.as_fd(), &path, mtime)?,
                // A later entry put something else in its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(fault) => return Err(UnpackError::write("open", &path, fault)),
            }
        }
        Ok(self.opaque.into_iter().collect())
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(UnpackError::refused(&entry.path, "the root of a layer is a directory"));
        }
        metadata::apply(self.root, entry)?;
        self.remember(&[], entry.mtime)
    }

    fn file<R: BufRead>(
        &mut self,
        entry: &Entry,
        name: &Name,
        archive: &mut Archive<R>,
    ) -> Result<(), UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            self.create(entry, name, |parent, last| openat(parent, last, flags, Mode::from_raw_mode(0o600)))?;
        let mut file = File::from(fd);
        archive.copy_data(|piece| {
            file.write_all(piece).map_err(|fault| {
                let fault = Errno::from_io_error(&fault).unwrap_or(Errno::IO);
                UnpackError::write("write", &entry.path, fault)
            })
        })?;
        metadata::apply(file.as_fd(), entry)?;
        metadata::apply_times(file.as_fd(), &entry.path, entry.mtime)
    }

    fn directory(&mut self, entry: &Entry, name: &Name) -> Result<(), UnpackError> {
        let parent = self.parent(entry, name.parent())?;
        let mut opaque = false;
        match mkdirat(parent, name.last(), Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => match look(parent, name.last()) {
                Ok(Found::Directory) => {}
                Ok(found) => {
                    opaque = matches!(found, Found::Whiteout);
                    unlinkat(parent, name.last(), AtFlags::empty())
                        .and_then(|()| mkdirat(parent, name.last(), Mode::from_raw_mode(0o700)))
                        .map_err(|fault| UnpackError::write("create", &entry.path, fault))?;
                }
                Err(fault) => return Err(UnpackError::write("look at", &entry.path, fault)),
            },
            Err(fault) => return Err(UnpackError::write("create", &entry.path, fault)),
        }
        let dir = openat(parent, name.last(), DIRECTORY, Mode::empty())
            .map_err(|fault| UnpackError::write("open", &entry.path, fault))?;
        metadata::apply(dir.as_fd(), entry)?;
        if opaque {
            self.hides(name.as_bytes())?;
        }
        self.remember(name.as_bytes(), entry.mtime)
    }

    fn symlink(&mut self, entry: &Entry, name: &Name) -> Result<(), UnpackError> {
        if entry.link.is_empty() || entry.link.contains(&0) || entry.link.len() >= self.limits.path_bytes {
            return Err(UnpackError::refused(
                &entry.path,
                "its link target is empty, too long or holds a NUL",
            ));
        }
        // Any target will do: nothing here follows it, and the container follows it within its own root.
        self.create(entry, name, |parent, last| symlinkat(entry.link.as_slice(), parent, last))?;
        metadata::apply_to_link(self.parent(entry, name.parent())?, name.last(), entry)
    }

    fn hardlink(&mut self, entry: &Entry, name: &Name) -> Result<(), UnpackError> {
        let target = Name::parse(&entry.link, &self.limits)?;
        if target == *name {
            return Err(UnpackError::refused(&entry.path, "it is a hard link to itself"));
        }
        let missing =
            || UnpackError::refused(&entry.path, "its hard link target is not a file of this layer");
        if target.is_root() {
            return Err(missing());
        }
        let from = self.open_beneath(target.parent()).map_err(|_| missing())?;
        match look(from.as_fd(), target.last()) {
            Ok(Found::Other) => {}
            _ => return Err(missing()),
        }
        self.create(entry, name, |parent, last| linkat(&from, target.last(), parent, last, AtFlags::empty()))
    }

    fn node(&mut self, entry: &Entry, name: &Name) -> Result<(), UnpackError> {
        let (kind, device) = match entry.kind {
            Kind::Character { major: 0, minor: 0 } => {
                return Err(UnpackError::refused(
                    &entry.path,
                    "device 0:0 is how overlayfs spells a whiteout",
                ));
            }
            Kind::Character { major, minor } => (FileType::CharacterDevice, makedev(major, minor)),
            Kind::Block { major, minor } => (FileType::BlockDevice, makedev(major, minor)),
            _ => (FileType::Fifo, 0),
        };
        self.create(entry, name, |parent, last| {
            mknodat(parent, last, kind, Mode::from_raw_mode(0o600), device)
        })?;
        metadata::apply_to_node(self.parent(entry, name.parent())?, name.last(), entry)
    }

    fn opaque(&mut self, entry: &Entry, name: &Name) -> Result<(), UnpackError> {
        self.parent(entry, name.parent())?;
        self.hides(name.parent())
    }

    /// A whiteout speaks of the layers below only, whatever this layer has under the same name, before or after.
    fn hide(&mut self, entry: &Entry, name: &Name, hidden: &[u8]) -> Result<(), UnpackError> {
        let parent = self.parent(entry, name.parent())?;
        match mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => match openat(parent, hidden, DIRECTORY, Mode::empty()) {
                Ok(_) => {
                    let path = [name.parent(), hidden].join(&b'/');
                    self.hides(path.strip_prefix(b"/").unwrap_or(&path))
                }
                // A file of this layer hides what is below by being there.
                Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(fault) => Err(UnpackError::write("open", &entry.path, fault)),
            },
            Err(fault) => Err(UnpackError::write("create", &entry.path, fault)),
        }
    }

    /// Creates something under a name, removing what an earlier entry of the archive put there.
    fn create<T>(
        &mut self,
        entry: &Entry,
        name: &Name,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T, UnpackError> {
        let failed = |fault| UnpackError::write("create", &entry.path, fault);
        let parent = self.parent(entry, name.parent())?;
        match make(parent, name.last()) {
            Err(Errno::EXIST) => {}
            outcome => return outcome.map_err(failed),
        }
        remove(parent, name.last()).map_err(|fault| UnpackError::write("replace", &entry.path, fault))?;
        let made = make(parent, name.last()).map_err(failed)?;
        // What was removed may have been the directory that is kept open for a later entry, or an opaque one.
        self.parent = None;
        let (path, below) = (name.as_bytes(), [name.as_bytes(), b"/"].concat());
        self.opaque.retain(|opaque| opaque != path && !opaque.starts_with(&below));
        Ok(made)
    }

    /// The directory `path`, created with its parents where the archive has no entries for them.
    fn parent(&mut self, entry: &Entry, path: &[u8]) -> Result<BorrowedFd<'_>, UnpackError> {
        if self.parent.as_ref().is_none_or(|(open, _)| open != path) {
            let dir = match self.open_beneath(path) {
                Ok(dir) => dir,
                Err(Errno::NOENT | Errno::NOTDIR) => self.make_path(entry, path)?,
                Err(Errno::LOOP | Errno::XDEV) => return Err(through_link(entry)),
                Err(fault) => return Err(UnpackError::write("open the directory of", &entry.path, fault)),
            };
            self.parent = Some((path.to_vec(), dir));
        }
        match &self.parent {
            Some((_, dir)) => Ok(dir.as_fd()),
            None => Ok(self.root),
        }
    }

    fn make_path(&mut self, entry: &Entry, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let failed = |fault| UnpackError::write("create the directory of", &entry.path, fault);
        let mut dir = self.open_beneath(&[]).map_err(failed)?;
        let mut so_far = 0;
        for component in path.split(|byte| *byte == b'/') {
            so_far += component.len();
            let found = look(dir.as_fd(), component).map_err(failed)?;
            if let Found::Other = found {
                return Err(through_link(entry));
            }
            if let Found::Whiteout = found {
                unlinkat(&dir, component, AtFlags::empty()).map_err(failed)?;
            }
            let is_new = !matches!(found, Found::Directory);
            if is_new {
                mkdirat(&dir, component, Mode::from_raw_mode(0o755)).map_err(failed)?;
            }
            let next = openat(&dir, component, DIRECTORY, Mode::empty()).map_err(failed)?;
            if is_new {
                fchown(&next, Some(Uid::ROOT), Some(Gid::ROOT)).map_err(failed)?;
                fchmod(&next, Mode::from_raw_mode(0o755)).map_err(failed)?;
            }
            if let Found::Whiteout = found {
                self.hides(path.get(..so_far).unwrap_or(path))?;
            }
            so_far += 1;
            dir = next;
        }
        Ok(dir)
    }

    fn open_beneath(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        open_beneath(self.root, path)
    }

    fn remember(&mut self, path: &[u8], mtime: (i64, u32)) -> Result<(), UnpackError> {
        if self.times.insert(path.to_vec(), mtime).is_none() {
            self.remembered += path.len() + 64;
        }
        if self.remembered > self.limits.remembered_bytes {
            let limit = self.limits.remembered_bytes as u64;
            return Err(UnpackError::Limit { what: "bytes in paths of directories", limit });
        }
        Ok(())
    }

    /// The directory hides what the layers below have in it.
    fn hides(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        if self.opaque.insert(path.to_vec()) {
            // Each byte is a number in JSON.
            self.opaque_bytes += 4 * path.len() as u64 + 3;
        }
        if self.opaque_bytes > MAX_ANSWER / 2 {
            return Err(UnpackError::Limit {
                what: "bytes in paths of opaque directories",
                limit: MAX_ANSWER / 8,
            });
        }
        Ok(())
    }
}

fn through_link(entry: &Entry) -> UnpackError {
    UnpackError::refused(&entry.path, "its path goes through something that is not a directory")
}

fn look(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Found> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Found::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
            _ => Found::Other,
        }),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        Err(fault) => Err(fault),
    }
}

/// Marks directories of a layer, which overlayfs then takes for opaque. One that is not there any more is passed over: what
/// stands in its place hides what is below by itself.
pub(super) fn mark_opaque(root: BorrowedFd<'_>, paths: &[Vec<u8>]) -> Result<(), UnpackError> {
    for path in paths {
        let marked = match open_beneath(root, path) {
            Ok(dir) => fsetxattr(dir, OPAQUE.0, OPAQUE.1, XattrFlags::empty()),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(fault) => Err(fault),
        };
        marked.map_err(|fault| UnpackError::write("mark as opaque", path, fault))?;
    }
    Ok(())
}

fn open_beneath(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let path = if path.is_empty() { b"." } else { path };
    openat2(root, path, DIRECTORY, Mode::empty(), resolve)
}

/// Removes a name and all below it, descriptor by descriptor; depth is bounded by the limit on paths.
fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        outcome => return outcome,
    }
    let dir = openat(parent, name, DIRECTORY, Mode::empty())?;
    for child in Dir::read_from(&dir)? {
        let child = child?;
        let child = child.file_name().to_bytes();
        if child != b"." && child != b".." {
            remove(dir.as_fd(), child)?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}
