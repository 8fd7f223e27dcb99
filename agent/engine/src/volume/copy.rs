//! Copies a tree of an image into a volume: owners, modes, times, links, extended attributes, by descriptor only.
//!
//! The source is hostile, and so may be the destination: a volume that is still empty is filled while containers have it.
//! No link is ever followed: names are looked up one at a time in directories that are open, and what was copied before is
//! only linked to where it still is what was copied. Devices are left out, since they would not open on a volume; so are
//! sockets.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// Directories in directories, at most; each costs two descriptors while it is walked.
const DEEPEST: usize = 128;

/// Most bytes of names of extended attributes, and of one value: the kernel's own limit.
const MOST_XATTR: usize = 64 * 1024;

/// Copies what is in `source` into `target`, and how `source` itself is owned.
pub(super) fn tree(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let mut copy = Copy { root: target, linked: HashMap::new(), path: Vec::new() };
    copy.directory(source, target)
}

/// Device and number.
type Inode = (u64, u64);

/// The first name of a file that has several.
struct First {
    /// Below the root.
    path: CString,
    copied: Inode,
}

struct Copy<'a> {
    root: BorrowedFd<'a>,
    /// Files with several names that were copied already, by what they are in the image.
    linked: HashMap<Inode, First>,
    /// Names from the root to here.
    path: Vec<CString>,
}

impl Copy<'_> {
    fn directory(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
        if self.path.len() > DEEPEST {
            return Err(io::Error::other(format!("directories are nested deeper than {DEEPEST}")));
        }
        for entry in Dir::read_from(source)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
            self.path.push(name.to_owned());
            self.entry(source, target, name, &stat)?;
            self.path.pop();
        }
        let stat = rustix::fs::fstat(source)?;
        attributes(source, target, &stat)
    }

    fn entry(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> io::Result<()> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(target, name, Mode::from_raw_mode(0o700))?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let from = rustix::fs::openat(source, name, flags, Mode::empty())?;
                let to = rustix::fs::openat(target, name, flags, Mode::empty())?;
                self.directory(from.as_fd(), to.as_fd())
            }
            FileType::RegularFile => self.file(source, target, name, stat),
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(source, name, Vec::new())?;
                rustix::fs::symlinkat(&text, target, name)?;
                own_name(target, name, stat)
            }
            FileType::Fifo => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                rustix::fs::mknodat(target, name, FileType::Fifo, mode, 0)?;
                own_name(target, name, stat)
            }
            _ => Ok(()),
        }
    }

    fn file(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> io::Result<()> {
        let inode = (stat.st_dev, stat.st_ino);
        if self.linked.get(&inode).is_some_and(|first| self.link(first, target, name)) {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let from = rustix::fs::openat(source, name, flags, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = rustix::fs::openat(target, name, flags, Mode::from_raw_mode(0o600))?;
        if stat.st_nlink > 1 {
            let names: Vec<&[u8]> = self.path.iter().map(|name| name.as_bytes()).collect();
            let copy = rustix::fs::fstat(&to)?;
            let first = First { path: CString::new(names.join(&b'/'))?, copied: (copy.st_dev, copy.st_ino) };
            self.linked.insert(inode, first);
        }
        let (mut from, mut to) = (File::from(from), File::from(to));
        // By copy_file_range where the file systems can.
        io::copy(&mut from, &mut to)?;
        attributes(from.as_fd(), to.as_fd(), stat)
    }

    /// Gives a file that was copied a further name; `false` when it is not to be had, and is to be copied again. Whoever
    /// has the volume may have put something else in its place, or in that of a directory on the way.
    fn link(&self, first: &First, target: BorrowedFd<'_>, name: &CStr) -> bool {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat2(self.root, first.path.as_c_str(), flags, Mode::empty(), resolve);
        let is_it = |found: &OwnedFd| {
            rustix::fs::fstat(found).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == first.copied)
        };
        let Some(found) = found.ok().filter(is_it) else { return false };
        rustix::fs::linkat(found, c"", target, name, AtFlags::EMPTY_PATH).is_ok()
    }
}

/// Owner before mode: changing the owner takes set-user-id bits and capabilities away.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    extended(from, to)?;
    Ok(rustix::fs::futimens(to, &times(stat))?)
}

fn own_name(at: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(at, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(rustix::fs::utimensat(at, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Those that mean something to a container; overlayfs's own stay behind.
fn extended(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0; MOST_XATTR];
    let length = match rustix::fs::flistxattr(from, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let is_wanted = name.starts_with(b"user.")
            || name == b"security.capability"
            || name.starts_with(b"system.posix_acl_");
        if !is_wanted {
            continue;
        }
        let name = CString::new(name)?;
        let mut value = vec![0; MOST_XATTR];
        let length = rustix::fs::fgetxattr(from, &name, value.as_mut_slice())?;
        match rustix::fs::fsetxattr(to, &name, &value[..length], XattrFlags::empty()) {
            // A file system without them: the content is worth more.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    fn open(path: &std::path::Path) -> OwnedFd {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).unwrap()
    }

    #[test]
    fn a_copy_has_owners_modes_links_times_and_attributes() {
        assert!(rustix::process::geteuid().is_root(), "this test changes owners and must run as root");
        let scratch = tempfile::tempdir_in("/tmp").unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        std::fs::create_dir_all(from.join("deep/er")).unwrap();
        std::fs::create_dir(&to).unwrap();
        let file = from.join("deep/file");
        std::fs::write(&file, "content").unwrap();
        chown(&file, Some(101), Some(102)).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o4711)).unwrap();
        rustix::fs::setxattr(&file, "user.note", b"kept", XattrFlags::empty()).unwrap();
        let old = Timestamps {
            last_access: Timespec { tv_sec: 5, tv_nsec: 0 },
            last_modification: Timespec { tv_sec: 7, tv_nsec: 9 },
        };
        rustix::fs::utimensat(rustix::fs::CWD, &file, &old, AtFlags::empty()).unwrap();
        std::fs::hard_link(&file, from.join("other-name")).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        let fifo = from.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let device = from.join("null");
        let (kind, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o666));
        rustix::fs::mknodat(rustix::fs::CWD, &device, kind, mode, rustix::fs::makedev(1, 3)).unwrap();
        std::fs::set_permissions(&from, PermissionsExt::from_mode(0o1777)).unwrap();

        tree(open(&from).as_fd(), open(&to).as_fd()).unwrap();

        let copied = std::fs::metadata(to.join("deep/file")).unwrap();
        assert_eq!((copied.uid(), copied.gid(), copied.mode() & 0o7777), (101, 102, 0o4711));
        assert_eq!((copied.mtime(), copied.mtime_nsec(), copied.nlink()), (7, 9, 2));
        assert_eq!(copied.ino(), std::fs::metadata(to.join("other-name")).unwrap().ino());
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(to.join("deep/file"), "user.note", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"kept");
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), std::path::Path::new("/etc/passwd"));
        assert!(to.join("deep/er").is_dir() && to.join("fifo").exists() && !to.join("null").exists());
        assert_eq!(std::fs::metadata(&to).unwrap().mode() & 0o7777, 0o1777);
    }

    /// A container has the volume too, and puts a link in the place of a directory that was copied just now.
    #[test]
    fn no_file_of_the_host_is_linked_into_a_volume_that_changes_meanwhile() {
        let scratch = tempfile::tempdir_in("/tmp").unwrap();
        let at = |name: &str| scratch.path().join(name);
        for directory in ["from/first", "from/second", "volume/kept", "volume/second", "host"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        std::fs::write(at("from/first/file"), "of the image").unwrap();
        std::fs::hard_link(at("from/first/file"), at("from/second/file")).unwrap();
        std::fs::write(at("host/file"), "of the host").unwrap();
        std::fs::write(at("volume/kept/file"), "of the image").unwrap();
        let inode = |path: &str| {
            let found = std::fs::metadata(at(path)).unwrap();
            (found.dev(), found.ino())
        };
        let root = open(&at("volume"));
        for (planted, is_link) in [("../host", true), ("elsewhere", false)] {
            if is_link {
                symlink(planted, at("volume/first")).unwrap();
            } else {
                std::fs::remove_file(at("volume/first")).unwrap();
                std::fs::create_dir(at("volume/first")).unwrap();
                std::fs::write(at("volume/first/file"), "of the container").unwrap();
            }
            let first = First { path: c"first/file".to_owned(), copied: inode("volume/kept/file") };
            let linked = HashMap::from([(inode("from/first/file"), first)]);
            let mut copy = Copy { root: root.as_fd(), linked, path: vec![c"second".into(), c"file".into()] };
            let (source, target) = (open(&at("from/second")), open(&at("volume/second")));
            let stat = rustix::fs::statat(&source, c"file", AtFlags::SYMLINK_NOFOLLOW).unwrap();
            copy.file(source.as_fd(), target.as_fd(), c"file", &stat).unwrap();
            assert_eq!(
                std::fs::read_to_string(at("volume/second/file")).unwrap(),
                "of the image",
                "{planted}"
            );
            assert_eq!(std::fs::metadata(at("host/file")).unwrap().nlink(), 1, "{planted}");
            std::fs::remove_file(at("volume/second/file")).unwrap();
        }
    }

    #[test]
    fn a_tree_that_is_too_deep_is_refused() {
        let scratch = tempfile::tempdir_in("/tmp").unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        std::fs::create_dir_all(from.join("d/".repeat(DEEPEST + 2))).unwrap();
        std::fs::create_dir(&to).unwrap();
        let error = tree(open(&from).as_fd(), open(&to).as_fd()).unwrap_err();
        assert!(error.to_string().contains("nested"), "{error}");
    }
}
