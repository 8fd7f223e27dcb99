//! A container's root filesystem, which is only ever handled as a descriptor.
//!
//! The tree is the image's, and the image may be hostile: any name in it may be a link to anywhere. So every
//! look-up starts at [`RootFd`] and cannot leave it (`openat2` with `RESOLVE_IN_ROOT` or
//! `RESOLVE_NO_SYMLINKS`, never through magic links), every creation happens one plain name at a time in a
//! directory that is already open, and mounts go from descriptor to descriptor.

pub(crate) mod mount;
pub(crate) mod overlay;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The root of a container's filesystem: a mount of its own.
#[derive(Debug)]
pub(crate) struct RootFd {
    root: OwnedFd,
    /// Filesystems made and attached by this process, in which nobody else has made a name yet: in them a name
    /// needs no looking up.
    fresh: Vec<(PathBuf, OwnedFd)>,
}

/// Where a mount is attached.
#[derive(Debug)]
pub(crate) enum Place<'a> {
    /// On what was found.
    Found(OwnedFd),
    /// On what was just made under this name in a fresh filesystem.
    Made(BorrowedFd<'a>, &'a OsStr),
}

/// How symbolic links on the way are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Followed, inside the root.
    InRoot,
    /// Refused.
    Refused,
}

/// What a mount needs as its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Directory,
    /// Anything but a directory.
    File,
}

/// How often a look-up is repeated that raced with a rename.
const RETRIES: u32 = 16;

impl RootFd {
    pub(crate) fn new(mount: OwnedFd) -> RootFd {
        RootFd { root: mount, fresh: Vec::new() }
    }

    /// Remembers that `mount`, attached at `at`, is a filesystem that was empty and that only this process sees.
    pub(crate) fn add_fresh(&mut self, at: &Path, mount: OwnedFd) {
        self.fresh.push((at.to_owned(), mount));
    }

    /// The fresh filesystem that `path` is directly in, and its name there.
    fn in_fresh<'a>(&'a self, path: &'a Path) -> Option<(&'a OwnedFd, &'a OsStr)> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        let (_, mount) = self.fresh.iter().find(|(at, _)| at == parent)?;
        Some((mount, name))
    }

    /// Finds or makes where a mount is to be attached.
    pub(crate) fn place<'a>(&'a self, path: &'a Path, target: Target, links: Links) -> io::Result<Place<'a>> {
        if let Some((parent, name)) = self.in_fresh(path) {
            let made = match target {
                Target::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
                // A plain file, made without opening it.
                Target::File => {
                    let mode = Mode::from_raw_mode(0o644);
                    rustix::fs::mknodat(parent, name, FileType::RegularFile, mode, 0)
                }
            };
            match made {
                // Made by an earlier step: then it is found like any other.
                Err(Errno::EXIST) => {}
                made => return made.map(|()| Place::Made(parent.as_fd(), name)).map_err(io::Error::from),
            }
        }
        self.target(path, target, links).map(Place::Found)
    }

    /// Finds `path`, which must exist, without opening it.
    pub(crate) fn find(&self, path: &Path, links: Links) -> io::Result<OwnedFd> {
        self.open(path, links, OFlags::PATH)
    }

    /// Opens `path`, which must exist.
    pub(crate) fn open(&self, path: &Path, links: Links, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = match links {
            Links::InRoot => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            Links::Refused => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS,
        };
        openat2(self.root.as_fd(), path, flags, resolve)
    }

    /// Finds the target of a mount, making what is missing of it.
    pub(crate) fn target(&self, path: &Path, target: Target, links: Links) -> io::Result<OwnedFd> {
        let found = match self.find(path, links) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make(path, target, links)?,
            other => other?,
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
        match (target, kind) {
            (Target::Directory, FileType::Directory) => Ok(found),
            (Target::Directory, _) => Err(Errno::NOTDIR.into()),
            (Target::File, FileType::Directory) => Err(Errno::ISDIR.into()),
            // What the kernel would refuse to mount over.
            (Target::File, FileType::Symlink) => Err(Errno::LOOP.into()),
            (Target::File, _) => Ok(found),
        }
    }

    /// Makes `path` and the directories above it, one name at a time. A dangling link on the way is an error:
    /// the name exists and yet leads nowhere.
    fn make(&self, path: &Path, target: Target, links: Links) -> io::Result<OwnedFd> {
        let names: Vec<&std::ffi::OsStr> = path
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name),
                _ => None,
            })
            .collect();
        let mut parent: OwnedFd = self.root.try_clone()?;
        let mut so_far = PathBuf::from("/");
        for (at, name) in names.iter().enumerate() {
            so_far.push(name);
            match self.find(&so_far, links) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => {
                    parent = other?;
                    continue;
                }
            }
            if at + 1 == names.len() && target == Target::File {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
                drop(rustix::fs::openat(&parent, *name, flags, Mode::from_raw_mode(0o644))?);
            } else {
                rustix::fs::mkdirat(&parent, *name, Mode::from_raw_mode(0o755))?;
            }
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            parent = openat2(parent.as_fd(), Path::new(name), OFlags::PATH, resolve)?;
        }
        Ok(parent)
    }

    /// Makes the symbolic link `at`, in a directory that exists, saying `target`. One that says so is left.
    pub(crate) fn symlink(&self, at: &Path, target: &str) -> io::Result<()> {
        if let Some((parent, name)) = self.in_fresh(at) {
            return Ok(rustix::fs::symlinkat(target, parent, name)?);
        }
        let (Some(directory), Some(name)) = (at.parent(), at.file_name()) else {
            return Err(Errno::INVAL.into());
        };
        let parent = self.find(directory, Links::Refused)?;
        match rustix::fs::symlinkat(target, &parent, name) {
            Err(Errno::EXIST)
                if rustix::fs::readlinkat(&parent, name, Vec::new())?.to_bytes() == target.as_bytes() =>
            {
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

impl AsFd for RootFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

fn openat2(at: BorrowedFd<'_>, path: &Path, flags: OFlags, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    for _ in 0..RETRIES {
        match rustix::fs::openat2(at, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // Something on the way was renamed while it was walked.
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, RootFd) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(directory.path(), flags, Mode::empty()).expect("it opens");
        (directory, RootFd::new(fd))
    }

    #[test]
    fn links_out_of_the_root_stay_inside() {
        let (directory, root) = root();
        symlink("/etc", directory.path().join("absolute")).expect("a link");
        symlink("../../../../../../etc", directory.path().join("relative")).expect("a link");
        for name in ["/absolute/passwd", "/relative/passwd"] {
            let error = root.find(Path::new(name), Links::InRoot).expect_err("the host's file");
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{name}");
        }
    }

    #[test]
    fn a_target_is_made_through_a_link_inside_the_root() {
        let (directory, root) = root();
        std::fs::create_dir(directory.path().join("run")).expect("a directory");
        symlink("/run", directory.path().join("run-link")).expect("a link");
        root.target(Path::new("/run-link/a/b"), Target::Directory, Links::InRoot).expect("made");
        assert!(directory.path().join("run/a/b").is_dir());
    }

    #[test]
    fn dangling_links_are_refused() {
        let (directory, root) = root();
        symlink("/nowhere", directory.path().join("proc")).expect("a link");
        for links in [Links::InRoot, Links::Refused] {
            root.target(Path::new("/proc/x"), Target::Directory, links).expect_err("a dangling link");
        }
        assert!(!directory.path().join("nowhere").exists());
    }

    #[test]
    fn strict_targets_refuse_any_link() {
        let (directory, root) = root();
        std::fs::create_dir(directory.path().join("real")).expect("a directory");
        symlink("real", directory.path().join("proc")).expect("a link");
        let error = root.target(Path::new("/proc"), Target::Directory, Links::Refused).expect_err("a link");
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn magic_links_are_never_followed() {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = RootFd::new(rustix::fs::open("/", flags, Mode::empty()).expect("the root"));
        root.find(Path::new("/proc/self/fd/0"), Links::InRoot).expect_err("a magic link");
        root.find(Path::new("/proc/self/cwd/tmp"), Links::InRoot).expect_err("a magic link");
    }
}
