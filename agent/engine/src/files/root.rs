//! Look-ups below a container's root, by descriptor. The container may exchange any name at any moment; the kernel
//! keeps each look-up inside, since links are resolved from this root and magic links are refused.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, fstatfs, openat, openat2, readlinkat,
};
use rustix::io::Errno;

use super::{FileInfo, FileKind};

/// How often a look-up is repeated that raced with a rename.
const RETRIES: u32 = 256;

/// The root directory of a container.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

impl Root {
    pub(super) fn new(root: OwnedFd) -> Root {
        Root(root)
    }

    /// Marks what is under `path` without opening it.
    pub(super) fn find(&self, path: &[u8], follow: bool) -> rustix::io::Result<OwnedFd> {
        let last = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        self.open(path, OFlags::PATH | last)
    }

    /// Opens `path`, a directory, following links.
    pub(super) fn directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    fn open(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..RETRIES {
            match openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // Something on the way was renamed while it was walked.
                Err(Errno::AGAIN) => {}
                outcome => return outcome,
            }
        }
        Err(Errno::AGAIN)
    }
}

/// Marks `name`, one plain name, in an open directory. A link is not followed.
pub(super) fn child(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Opens for reading what a descriptor marks: that very file, whatever its name leads to by now. Only for what is
/// known to be a regular file: opening a device or a fifo would reach whoever is behind it.
pub(super) fn reopen(marked: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(CWD, place(marked), flags, Mode::empty())
}

/// The name under which this process finds what a descriptor marks.
pub(super) fn place(marked: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", marked.as_raw_fd())
}

/// What a descriptor marks.
pub(super) fn info(marked: BorrowedFd<'_>, name: Vec<u8>) -> rustix::io::Result<FileInfo> {
    let stat = fstat(marked)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Special,
    };
    let link = if kind == FileKind::Symlink { link_text(marked)? } else { Vec::new() };
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    Ok(FileInfo { name, kind, mode: stat.st_mode, size, mtime: mtime(&stat), link })
}

/// The text of the link that a descriptor marks.
pub(super) fn link_text(marked: BorrowedFd<'_>) -> rustix::io::Result<Vec<u8>> {
    Ok(readlinkat(marked, "", Vec::new())?.into_bytes())
}

pub(super) fn mtime(stat: &Stat) -> (i64, u32) {
    (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// Why nothing is copied from the file system that `marked` lies on, if so: it shows the kernel's state, not files.
pub(super) fn is_unreal(marked: BorrowedFd<'_>) -> rustix::io::Result<Option<&'static str>> {
    let kind = fstatfs(marked.as_fd())?.f_type;
    let known = [
        (0x9fa0, "proc"),
        (0x6265_6572, "sysfs"),
        (0x0027_e0eb, "cgroup"),
        (0x6367_7270, "cgroup2"),
        (0x1cd1, "devpts"),
        (0x1980_0202, "mqueue"),
        (0x6462_6720, "debugfs"),
        (0x7472_6163, "tracefs"),
        (0x7363_6673, "securityfs"),
        (0xcafe_4a11, "bpf"),
    ];
    Ok(known.iter().find(|(magic, _)| kind == *magic).map(|(_, name)| *name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(directory.path(), flags, Mode::empty()).unwrap();
        (directory, Root::new(root))
    }

    #[test]
    fn links_out_of_the_root_stay_inside() {
        let (directory, root) = root();
        symlink("/etc", directory.path().join("absolute")).unwrap();
        symlink("../../../../../../../etc", directory.path().join("relative")).unwrap();
        for path in ["/absolute/passwd", "relative/passwd", "../../../../../../etc/passwd"] {
            assert_eq!(root.find(path.as_bytes(), true).unwrap_err(), Errno::NOENT, "{path}");
        }
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        std::fs::write(directory.path().join("etc/passwd"), "its own").unwrap();
        for path in ["/absolute/passwd", "relative/passwd", "/etc/../../../etc/passwd"] {
            let marked = root.find(path.as_bytes(), true).unwrap();
            assert_eq!(info(marked.as_fd(), Vec::new()).unwrap().size, 7, "{path}");
        }
    }

    #[test]
    fn magic_links_are_never_followed() {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = Root::new(rustix::fs::open("/", flags, Mode::empty()).unwrap());
        for path in ["/proc/self/fd/0", "/proc/self/root/etc", "/proc/self/cwd/etc"] {
            assert_eq!(root.find(path.as_bytes(), true).unwrap_err(), Errno::LOOP, "{path}");
        }
        let proc = root.find(b"/proc", true).unwrap();
        assert_eq!(is_unreal(proc.as_fd()).unwrap(), Some("proc"));
    }
}
