//! A volume as a mount that a container can be given. All of it blocks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use agent_runtime::detached;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::options::{Elsewhere, System};
use super::{VolumeError, Volumes, directory, host, options};

/// What a volume is mounted from.
#[derive(Debug)]
pub(crate) struct Opened {
    /// A mount of its own, or a directory of the host.
    pub(crate) source: OwnedFd,
    /// The volume's options say so.
    pub(crate) read_only: bool,
}

impl Volumes {
    /// Opens a volume: its directory, or what its options name.
    pub(crate) fn open_for_mount(&self, name: &str) -> Result<Opened, VolumeError> {
        let entry = self.entry(name)?;
        let record = entry.usable().ok_or_else(|| VolumeError::NotFound(name.to_owned()))?;
        match options::parse(name, &record.options)?.elsewhere {
            None => {
                let source = directory::open_data(self, name)?;
                Ok(Opened { source, read_only: false })
            }
            Some(Elsewhere::Bind { device, read_only }) => {
                let resolve = ResolveFlags::NO_MAGICLINKS;
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let source = rustix::fs::openat2(CWD, &device, flags, Mode::empty(), resolve)
                    .map_err(|error| host("open the device of a volume", Path::new(&device), error))?;
                Ok(Opened { source, read_only })
            }
            Some(Elsewhere::System(system)) => self.open_system(name, &system),
        }
    }

    /// A file system is mounted on the volume's directory while anybody uses it, so that all see the same one.
    fn open_system(&self, name: &str, system: &System) -> Result<Opened, VolumeError> {
        let (of, data) = (self.of(name), self.data(name));
        if !is_mounted(&of, &data)? {
            let options = system.resolved(name)?;
            let made = detached::filesystem(&system.fstype, Some(&system.device), &options);
            let made = made.map_err(|source| VolumeError::Option {
                name: name.to_owned(),
                rule: format!("cannot mount {} {}: {}", system.fstype, system.device, in_words(&source)),
            })?;
            detached::attach(made.as_fd(), directory::open_data(self, name)?.as_fd())
                .map_err(|error| host("mount on", &data, error))?;
        }
        let source = directory::open_data(self, name)?;
        Ok(Opened { source, read_only: system.read_only })
    }

    /// Unmounts the file systems of volumes that nobody uses any more.
    pub(crate) fn unmount_unused(&self, is_used: impl Fn(&str) -> bool) -> Result<(), VolumeError> {
        for volume in self.list().into_iter().filter(|volume| !volume.options.is_empty()) {
            if !is_used(&volume.name) {
                unmount(self, &volume.name)?;
            }
        }
        Ok(())
    }
}

/// Takes away what is mounted for a volume, if anything is.
pub(super) fn unmount(volumes: &Volumes, name: &str) -> Result<(), VolumeError> {
    let (of, data) = (volumes.of(name), volumes.data(name));
    if data.exists() && is_mounted(&of, &data)? {
        detached::detach(&data).map_err(|error| host("unmount", &data, error))?;
    }
    Ok(())
}

fn in_words(error: &std::io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NODEV) => "this kernel has no such file system".to_owned(),
        Some(Errno::INVAL) => format!("the file system does not take these options ({error})"),
        _ => error.to_string(),
    }
}

fn is_mounted(of: &Path, data: &Path) -> Result<bool, VolumeError> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| {
        std::fs::symlink_metadata(path).map(|found| found.dev()).map_err(|error| host("look at", path, error))
    };
    Ok(device(of)? != device(data)?)
}

/// A path inside a volume or an image, without following any link. Empty is all of it.
pub(crate) fn subpath(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, VolumeError> {
    let path = if path.is_empty() { "." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).map_err(|error| VolumeError::Subpath {
        path: path.to_owned(),
        reason: match error {
            Errno::LOOP => "there is a symbolic link on the way, which is not followed".to_owned(),
            Errno::XDEV => "it leads out of the volume".to_owned(),
            Errno::NOENT => "there is no such file or directory".to_owned(),
            error => error.to_string(),
        },
    })
}
