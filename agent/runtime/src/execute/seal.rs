//! Hiding paths of the kernel's filesystems, and taking write access from others.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::init::Init;
use super::stdio;
use crate::plan::step::Attributes;
use crate::rootfs::{Links, mount};

/// What covers paths.
#[derive(Debug, Default)]
pub(super) struct Masks {
    /// The first directory mask; later ones are clones of it.
    empty: Option<OwnedFd>,
    /// The null device, checked: what masks files.
    null: Option<OwnedFd>,
    /// Made for a path that was not there: for a file, for a directory.
    spare: [Option<OwnedFd>; 2],
    /// The container's own null device is a node of a filesystem that it may write to, which shows less clearly
    /// what it is than the host's.
    pub hosts_null: bool,
}

const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Names that are directories; only a hint.
const DIRECTORIES: [&str; 4] = ["acpi", "asound", "firmware", "scsi"];

impl Init {
    pub(super) fn mask(&mut self, path: &Path) -> io::Result<()> {
        if self.mask_in_kernel(path)? {
            return Ok(());
        }
        let Some((found, kind)) = self.if_there(path)? else { return Ok(()) };
        let mask = self.take_mask(kind == FileType::Directory)?;
        mount::attach(mask.as_fd(), found.as_fd())?;
        self.keep_mask(mask, kind == FileType::Directory);
        self.opened.push(found);
        Ok(())
    }

    /// Whether the path was covered, or is not there. Names that the kernel made need no looking at: no link can
    /// stand for them.
    fn mask_in_kernel(&mut self, path: &Path) -> io::Result<bool> {
        let Some((_, name)) = self.root.in_kernel(path) else { return Ok(false) };
        let likely = DIRECTORIES.iter().any(|known| name == Path::new(known));
        for directory in [likely, !likely] {
            let mask = self.take_mask(directory)?;
            let (parent, name) = self.root.in_kernel(path).ok_or(Errno::BADF)?;
            let attached = mount::attach_at(mask.as_fd(), parent, name);
            match attached.as_ref().map_err(io::Error::raw_os_error) {
                Ok(()) => {
                    self.keep_mask(mask, directory);
                    return Ok(true);
                }
                Err(Some(libc::ENOENT)) => {
                    self.masks.spare[usize::from(directory)] = Some(mask);
                    return Ok(true);
                }
                // What the kernel says of a file over a directory and the other way round.
                Err(Some(libc::EINVAL | libc::ENOTDIR)) => {
                    self.masks.spare[usize::from(directory)] = Some(mask);
                }
                Err(_) => return attached.map(|()| true),
            }
        }
        Ok(false)
    }

    pub(super) fn make_read_only(&mut self, path: &Path) -> io::Result<()> {
        if let Some((parent, name)) = self.root.in_kernel(path) {
            let clone = match mount::clone_at(parent, name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                clone => clone?,
            };
            mount::make_read_only(clone.as_fd(), true)?;
            mount::attach_at(clone.as_fd(), parent, name)?;
            self.opened.push(clone);
            return Ok(());
        }
        let Some((found, _)) = self.if_there(path)? else { return Ok(()) };
        let clone = mount::clone(found.as_fd(), true)?;
        mount::make_read_only(clone.as_fd(), true)?;
        mount::attach(clone.as_fd(), found.as_fd())?;
        self.opened.extend([clone, found]);
        Ok(())
    }

    fn if_there(&mut self, path: &Path) -> io::Result<Option<(OwnedFd, FileType)>> {
        match self.root.find(path, Links::InRoot) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            found => {
                let found = found?;
                let kind = self.root.kind(&found)?;
                Ok(Some((found, kind)))
            }
        }
    }

    /// A mount that is attached nowhere yet.
    fn take_mask(&mut self, directory: bool) -> io::Result<OwnedFd> {
        if let Some(spare) = self.masks.spare[usize::from(directory)].take() {
            return Ok(spare);
        }
        if !directory {
            return mount::clone(self.null_device()?.as_fd(), false);
        }
        if let Some(empty) = &self.masks.empty {
            return mount::clone(empty.as_fd(), false);
        }
        let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        let attributes = Attributes { set: attributes | libc::MOUNT_ATTR_NOEXEC, clear: 0 };
        mount::new_filesystem("tmpfs", &["size=0".to_owned()], attributes)
    }

    /// Remembers what has been attached: kernels before 6.15 clone nothing else.
    fn keep_mask(&mut self, mask: OwnedFd, directory: bool) {
        if directory && self.masks.empty.is_none() {
            self.masks.empty = Some(mask);
        } else {
            self.opened.push(mask);
        }
    }

    fn null_device(&mut self) -> io::Result<&OwnedFd> {
        if self.masks.null.is_none() {
            let null = match self.masks.hosts_null {
                // The root of this process is the host's until it pivots.
                true => rustix::fs::openat(CWD, "/dev/null", PATH_ONLY, Mode::empty())?,
                false => self.root.find(Path::new("/dev/null"), Links::Refused)?,
            };
            stdio::check_null(&null)?;
            self.masks.null = Some(null);
        }
        self.masks.null.as_ref().ok_or_else(|| Errno::BADF.into())
    }
}
