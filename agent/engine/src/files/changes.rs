//! What a container changed: its overlay's writable directory beside its layers. Whiteouts are what it removed, an
//! opaque directory hides all the layers have under its name, and everything else was added or changed.
//!
//! The engine mounts overlays without redirects and without metadata-only copies, so what is here is whole.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, fstat, openat, openat2, statat,
};
use rustix::io::Errno;

use super::FilesError;
use super::root::child;

/// Directories inside each other. Each is a descriptor that is open meanwhile.
const DEPTH: usize = 900;

const OPAQUE: &str = "trusted.overlay.opaque";

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is not in the image.
    Added,
    /// It is in the image, and another now.
    Changed,
    /// It was in the image.
    Deleted,
}

/// One path that is not as in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// From the root, with a leading slash.
    pub path: Vec<u8>,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// Something in the writable directory, as a visitor sees it.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    /// A directory, file or anything else; `opaque` hides what the layers have below it.
    Here { marked: &'a OwnedFd, stat: Stat, opaque: bool },
    /// A whiteout.
    Gone,
}

/// Goes through the writable directory, parents before what is in them. Paths have no leading slash.
pub(super) fn walk(
    upper: &Path,
    mut visit: impl FnMut(&[u8], Seen<'_>) -> Result<(), super::pack::PackError>,
) -> Result<(), super::pack::PackError> {
    let failed = |path: &[u8], fault| FilesError::system("read", path, fault);
    let root = openat(CWD, upper, DIRECTORY, Mode::empty()).map_err(|fault| failed(b"/", fault))?;
    let mut levels = vec![(Vec::new(), Dir::read_from(&root).map_err(|fault| failed(b"/", fault))?, root)];
    while let Some((prefix, entries, fd)) = levels.last_mut() {
        let Some(entry) = entries.read() else {
            levels.pop();
            continue;
        };
        let entry = entry.map_err(|fault| failed(prefix, fault))?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let path = [&prefix[..], name].concat();
        let found = child(fd.as_fd(), name).and_then(|marked| fstat(&marked).map(|stat| (marked, stat)));
        let (marked, stat) = match found {
            Ok(found) => found,
            Err(Errno::NOENT) => continue,
            Err(fault) => return Err(failed(&path, fault).into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice if stat.st_rdev == 0 => visit(&path, Seen::Gone)?,
            FileType::Directory => {
                let inside = openat(&marked, ".", DIRECTORY, Mode::empty());
                let inside = inside.map_err(|fault| failed(&path, fault))?;
                let opaque = is_opaque(inside.as_fd());
                visit(&path, Seen::Here { marked: &marked, stat, opaque })?;
                if levels.len() >= DEPTH {
                    let reason = format!("more than {DEPTH} directories inside each other are not read");
                    return Err(FilesError::refused(&path, reason).into());
                }
                let entries = Dir::read_from(&inside).map_err(|fault| failed(&path, fault))?;
                levels.push(([&path[..], b"/"].concat(), entries, inside));
            }
            _ => visit(&path, Seen::Here { marked: &marked, stat, opaque: false })?,
        }
    }
    Ok(())
}

fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0; 8];
    // "x" says that whiteouts inside are written as attributes, which we do not ask overlayfs for.
    matches!(fgetxattr(directory, OPAQUE, &mut value), Ok(1) if value[0] == b'y')
}

/// The layers of a container, topmost first.
#[derive(Debug)]
pub(crate) struct Layers {
    layers: Vec<OwnedFd>,
}

impl Layers {
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self, FilesError> {
        let open = |path: &PathBuf| {
            openat(CWD, path, DIRECTORY, Mode::empty())
                .map_err(|fault| FilesError::helper(format!("open {}: {}", path.display(), fault)))
        };
        Ok(Layers { layers: paths.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Whether the image has something under a path, without a leading slash.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        for layer in &self.layers {
            match look(layer.as_fd(), path) {
                Look::Here => return true,
                Look::Hidden => return false,
                Look::Below => {}
            }
        }
        false
    }

    /// The names the image has in a directory.
    fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let mut names = std::collections::BTreeSet::new();
        for layer in &self.layers {
            if let Ok(directory) = beneath(layer.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)
                && let Ok(entries) = Dir::read_from(&directory)
            {
                let entries = entries.filter_map(Result::ok);
                names.extend(entries.map(|entry| entry.file_name().to_bytes().to_vec()));
            }
        }
        let is_there = |name: &Vec<u8>| {
            name != b"." && name != b".." && self.has(&[path, b"/", name.as_slice()].concat())
        };
        names.into_iter().filter(is_there).collect()
    }
}

enum Look {
    Here,
    /// This layer says that there is nothing, whatever is below.
    Hidden,
    Below,
}

/// What one layer says of a path.
fn look(layer: BorrowedFd<'_>, path: &[u8]) -> Look {
    let whole = beneath(layer, path, OFlags::PATH);
    match whole.and_then(|found| fstat(&found)) {
        Ok(stat)
            if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0 =>
        {
            return Look::Hidden;
        }
        Ok(_) => return Look::Here,
        Err(_) => {}
    }
    // Not here: a parent that is opaque, no directory or a whiteout hides what is below.
    for (at, byte) in path.iter().enumerate() {
        if *byte != b'/' {
            continue;
        }
        let parent = path.get(..at).unwrap_or_default();
        match beneath(layer, parent, DIRECTORY) {
            Ok(directory) if is_opaque(directory.as_fd()) => return Look::Hidden,
            Ok(_) => {}
            Err(Errno::NOENT) => return Look::Below,
            Err(_) => return Look::Hidden,
        }
    }
    Look::Below
}

fn beneath(layer: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(layer, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// All changes, in the order of their paths.
pub(crate) fn list(upper: &Path, layers: &Layers) -> Result<Vec<Change>, FilesError> {
    let mut changes: Vec<Change> = Vec::new();
    let mut add = |path: &[u8], kind| changes.push(Change { path: [b"/", path].concat(), kind });
    let walked = walk(upper, |path, seen| {
        let known = layers.has(path);
        match seen {
            Seen::Gone if known => add(path, ChangeKind::Deleted),
            Seen::Gone => {}
            Seen::Here { .. } if !known => add(path, ChangeKind::Added),
            Seen::Here { marked, opaque, .. } => {
                add(path, ChangeKind::Changed);
                if opaque {
                    for name in layers.names(path) {
                        let stays = statat(marked, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_ok();
                        if !stays {
                            add(&[path, b"/", &name].concat(), ChangeKind::Deleted);
                        }
                    }
                }
            }
        }
        Ok(())
    });
    match walked {
        Ok(()) => {}
        Err(super::pack::PackError::Files(fault)) => return Err(fault),
        Err(fault @ super::pack::PackError::Sink(_)) => return Err(FilesError::helper(fault)),
    }
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(changes)
}
