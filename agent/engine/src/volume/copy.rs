//! Copies a tree of an image into a volume: owners, modes, times, links, extended attributes, by descriptor only.
//!
//! The source is hostile and the destination is nobody else's yet. No link is ever followed: names are looked up one
//! at a time in directories that are open. Devices are left out, since they would not open on a volume; so are sockets.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
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

struct Copy<'a> {
    root: BorrowedFd<'a>,
    /// Files with several names that were copied already, by inode: their first name below the root.
    linked: HashMap<(u64, u64), CString>,
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
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&inode) {
                // Made by this copy, in directories that nobody else has: there is no link in it.
                return Ok(rustix::fs::linkat(self.root, first.as_c_str(), target, name, AtFlags::empty())?);
            }
            let names: Vec<&[u8]> = self.path.iter().map(|name| name.as_bytes()).collect();
            self.linked.insert(inode, CString::new(names.join(&b'/'))?);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let from = rustix::fs::openat(source, name, flags, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = rustix::fs::openat(target, name, flags, Mode::from_raw_mode(0o600))?;
        let (mut from, mut to) = (File::from(from), File::from(to));
        // By copy_file_range where the file systems can.
        io::copy(&mut from, &mut to)?;
        attributes(from.as_fd(), to.as_fd(), stat)
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
    use std::os::fd::OwnedFd;
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
