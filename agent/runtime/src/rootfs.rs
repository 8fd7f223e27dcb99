//! A container's root filesystem, which is only ever handled as a descriptor.
//!
//! The tree is the image's, and the image may be hostile: any name in it may be a link to anywhere. So every
//! look-up starts at [`RootFd`] and cannot leave it (`openat2` with `RESOLVE_IN_ROOT` or
//! `RESOLVE_NO_SYMLINKS`, never through magic links), every creation happens one plain name at a time in a
//! directory that is already open, and mounts go from descriptor to descriptor.

pub(crate) mod mount;
pub(crate) mod overlay;

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
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
    /// Filesystems in which all names are the kernel's, attached by this process.
    kernel: Vec<(PathBuf, OwnedFd)>,
    /// Device and inode of the root.
    identity: OnceCell<(u64, u64)>,
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

/// How many links a walk follows, as the kernel.
const MOST_LINKS: u32 = 40;

impl RootFd {
    pub(crate) fn new(mount: OwnedFd) -> RootFd {
        RootFd { root: mount, fresh: Vec::new(), kernel: Vec::new(), identity: OnceCell::new() }
    }

    /// Remembers that `mount`, attached at `at`, shows nothing but names that the kernel made.
    pub(crate) fn add_kernel(&mut self, at: &Path, mount: OwnedFd) {
        self.kernel.push((at.to_owned(), mount));
    }

    /// Forgets filesystems that a mount at `at` is about to hide.
    pub(crate) fn cover(&mut self, at: &Path) {
        self.kernel.retain(|(known, _)| !known.starts_with(at));
    }

    /// The filesystem of the kernel's that `path` is directly in, and its name there: a name that no image and no
    /// mount on the way to it has a say in.
    pub(crate) fn in_kernel<'a>(&'a self, path: &'a Path) -> Option<(BorrowedFd<'a>, &'a Path)> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        let (_, mount) = self.kernel.iter().find(|(at, _)| at == parent)?;
        Some((mount.as_fd(), Path::new(name)))
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        if let Some(known) = self.identity.get() {
            return Ok(*known);
        }
        let stat = rustix::fs::fstat(&self.root)?;
        Ok(*self.identity.get_or_init(|| (stat.st_dev, stat.st_ino)))
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
        let kind = self.kind(&found)?;
        match (target, kind) {
            (Target::Directory, FileType::Directory) => Ok(found),
            (Target::Directory, _) => Err(Errno::NOTDIR.into()),
            (Target::File, FileType::Directory) => Err(Errno::ISDIR.into()),
            // What the kernel would refuse to mount over.
            (Target::File, FileType::Symlink) => Err(Errno::LOOP.into()),
            (Target::File, _) => Ok(found),
        }
    }

    /// What was found to be mounted on: anything but the root itself. A link that leads there would put the mount
    /// between the root and every path in it, where this process no longer looks.
    pub(crate) fn kind(&self, found: &OwnedFd) -> io::Result<FileType> {
        let stat = rustix::fs::fstat(found)?;
        if (stat.st_dev, stat.st_ino) == self.identity()? {
            let words = "a link of the image leads to its root directory, on which nothing can be mounted";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        Ok(FileType::from_raw_mode(stat.st_mode))
    }

    /// Makes what is missing of `path`, one name at a time. Links that lead nowhere are walked by their text,
    /// inside the root, and what they promise is made: `/etc/resolv.conf -> ../run/x` is an ordinary image.
    fn make(&self, path: &Path, target: Target, links: Links) -> io::Result<OwnedFd> {
        let mut names = names_of(path);
        // The directories from the root down to where the walk is.
        let mut at = vec![self.root.try_clone()?];
        let mut followed = 0;
        while let Some(name) = names.pop_front() {
            if name == ".." {
                at.truncate(at.len().saturating_sub(1).max(1));
                continue;
            }
            let here = at.last().unwrap_or(&self.root);
            match rustix::fs::readlinkat(here, &name, Vec::new()) {
                Ok(text) if links == Links::InRoot && followed < MOST_LINKS => {
                    followed += 1;
                    let text = Path::new(OsStr::from_bytes(text.as_bytes())).to_owned();
                    if text.is_absolute() {
                        at.truncate(1);
                    }
                    let rest = std::mem::replace(&mut names, names_of(&text));
                    names.extend(rest);
                    continue;
                }
                Ok(_) => return Err(Errno::LOOP.into()),
                // No link.
                Err(Errno::INVAL) => {}
                Err(Errno::NOENT) if names.is_empty() && target == Target::File => {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let mode = Mode::from_raw_mode(0o644);
                    drop(rustix::fs::openat(here, &name, flags | OFlags::WRONLY, mode)?);
                }
                Err(Errno::NOENT) => rustix::fs::mkdirat(here, &name, Mode::from_raw_mode(0o755))?,
                Err(error) => return Err(error.into()),
            }
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let next = openat2(here.as_fd(), Path::new(&name), OFlags::PATH, resolve)?;
            at.push(next);
        }
        at.pop().ok_or_else(|| Errno::NOENT.into())
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

/// The names of a path, `..` among them.
fn names_of(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    names.map(|part| part.as_os_str().to_owned()).collect()
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
    fn what_a_dangling_link_promises_is_made_inside_the_root() {
        let (directory, root) = root();
        let inside = |path: &str| directory.path().join(path);
        std::fs::create_dir_all(inside("etc/deep")).expect("a directory");
        for (link, says) in [
            ("etc/resolv.conf", "../run/systemd/resolv.conf"),
            ("etc/hosts", "/../../../../../rd-no-such-place/hosts"),
            ("etc/chain", "deep/../chain2"),
            ("etc/chain2", "/end"),
        ] {
            symlink(says, inside(link)).expect("a link");
        }
        for name in ["/etc/resolv.conf", "/etc/hosts", "/etc/chain"] {
            root.target(Path::new(name), Target::File, Links::InRoot).expect(name);
        }
        for made in ["run/systemd/resolv.conf", "rd-no-such-place/hosts", "end"] {
            assert!(inside(made).is_file(), "{made}");
        }
        assert!(!Path::new("/rd-no-such-place").exists());
    }

    #[test]
    fn nothing_is_mounted_on_the_root_itself() {
        let (directory, root) = root();
        std::fs::create_dir(directory.path().join("run")).expect("a directory");
        symlink("..", directory.path().join("run/up")).expect("a link");
        symlink("/", directory.path().join("top")).expect("a link");
        for name in ["/run/up", "/top", "/run/up/run/up"] {
            root.target(Path::new(name), Target::Directory, Links::InRoot).expect_err(name);
        }
        root.target(Path::new("/run/up/run"), Target::Directory, Links::InRoot).expect("below it is fine");
    }

    #[test]
    fn links_in_a_circle_and_dangling_links_on_strict_ways_are_refused() {
        let (directory, root) = root();
        symlink("/nowhere", directory.path().join("proc")).expect("a link");
        symlink("circle", directory.path().join("circle")).expect("a link");
        root.target(Path::new("/proc/x"), Target::Directory, Links::Refused).expect_err("a dangling link");
        assert!(!directory.path().join("nowhere").exists());
        root.target(Path::new("/circle/x"), Target::Directory, Links::InRoot).expect_err("a circle");
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
