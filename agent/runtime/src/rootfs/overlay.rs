//! The overlay of image layers and a container's own upper layer.
//!
//! Layers are stored with the image's ids. A container with a user namespace sees them through a mount of its
//! own that maps ids; nothing is copied or chowned.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, UnmountFlags, fsconfig_set_fd, fsconfig_set_string, fsopen, unmount};

use super::mount;
use crate::plan::step::Attributes;
use crate::sys::mount::{MountAttr, mount_setattr};

/// How layers are named to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// By descriptor: detached mounts, Linux 6.15.
    Descriptors,
    /// By path, attached for a moment in the staging directory.
    Paths,
}

/// What an overlay is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layers<'a> {
    /// Topmost first.
    pub lower: &'a [PathBuf],
    pub upper: &'a Path,
    pub work: &'a Path,
    /// The user namespace whose map the lower layers are shown through.
    pub userns: Option<BorrowedFd<'a>>,
    /// Where layers are attached when they must have a path.
    pub staging: &'a Path,
}

/// A detached overlay. With a user namespace device nodes in it do not open.
pub(crate) fn open(layers: &Layers<'_>) -> io::Result<OwnedFd> {
    match open_named(layers, Naming::Descriptors) {
        // What kernels say that do not take descriptors, or no detached ones.
        Err(error)
            if matches!(
                error.raw_os_error().map(Errno::from_raw_os_error),
                Some(Errno::INVAL | Errno::BADF | Errno::OPNOTSUPP)
            ) =>
        {
            open_named(layers, Naming::Paths)
        }
        other => other,
    }
}

pub(crate) fn open_named(layers: &Layers<'_>, naming: Naming) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let nodev = if layers.userns.is_some() { libc::MOUNT_ATTR_NODEV } else { 0 };
    let attributes = Attributes { set: nodev, clear: 0 };
    let mut opened = Vec::with_capacity(layers.lower.len());
    for path in layers.lower {
        opened.push(match layers.userns {
            Some(userns) => mapped(path, userns)?,
            None => directory(path)?,
        });
    }
    match naming {
        Naming::Descriptors => {
            for layer in &opened {
                fsconfig_set_fd(&context, "lowerdir+", layer)?;
            }
            fsconfig_set_fd(&context, "upperdir", directory(layers.upper)?)?;
            fsconfig_set_fd(&context, "workdir", directory(layers.work)?)?;
            mount::finish(context.as_fd(), attributes)
        }
        Naming::Paths => {
            let attached = Attached::new(layers, &opened)?;
            fsconfig_set_string(&context, "lowerdir", attached.joined()?)?;
            fsconfig_set_string(&context, "upperdir", layers.upper)?;
            fsconfig_set_string(&context, "workdir", layers.work)?;
            mount::finish(context.as_fd(), attributes)
        }
    }
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

fn mapped(path: &Path, userns: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let layer = mount::clone_path(path, false)?;
    mount_setattr(layer.as_fd(), false, &MountAttr::default().id_map(userns))?;
    Ok(layer)
}

/// Layers attached for as long as the overlay is being made; it keeps mounts of its own.
struct Attached {
    paths: Vec<PathBuf>,
    mounted: bool,
}

impl Attached {
    fn new(layers: &Layers<'_>, opened: &[OwnedFd]) -> io::Result<Attached> {
        if layers.userns.is_none() {
            return Ok(Attached { paths: layers.lower.to_vec(), mounted: false });
        }
        let mut attached = Attached { paths: Vec::new(), mounted: true };
        for (number, layer) in opened.iter().enumerate() {
            let path = layers.staging.join(format!("layer-{number}"));
            match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            mount::attach_at(layer.as_fd(), CWD, &path)?;
            attached.paths.push(path);
        }
        Ok(attached)
    }

    fn joined(&self) -> io::Result<String> {
        let words =
            self.paths.iter().map(|path| path.to_str().filter(|path| !path.contains([':', ',', '\\'])));
        let words: Option<Vec<&str>> = words.collect();
        words.map(|words| words.join(":")).ok_or_else(|| Errno::INVAL.into())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        for path in self.paths.iter().filter(|_| self.mounted) {
            // Nothing better can be done about a failure; the directory would be found busy the next time.
            let _ = unmount(path, UnmountFlags::DETACH);
            let _ = rustix::fs::rmdir(path);
        }
    }
}
