//! Mounts that a container is to have, made by the agent: detached from every path, and handed to the keeper as
//! descriptors.
//!
//! The keeper has left the host's mount namespace, and what a user binds is in that one, so binds cannot be the
//! keeper's. All functions run in the agent, on any thread. Deliberately absent: finding a source, which is the
//! engine's, and mapping ids, which needs the container's user namespace and is a step of the plan.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat};
use rustix::mount::{FsOpenFlags, UnmountFlags, fsconfig_set_flag, fsconfig_set_string, fsopen, unmount};
use rustix::thread::LinkNameSpaceType;

use crate::plan::step::Attributes;
use crate::rootfs::mount;
use crate::sys::mount::{MountAttr, mount_setattr};

/// `TMPFS_MAGIC`.
const TMPFS: u64 = 0x0102_1994;

/// How mounts made later on one side show on the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Private,
    /// The container sees what the host mounts there.
    Slave,
    /// Both see both. Not for containers with a user namespace of their own.
    Shared,
}

/// How far a mount is without write access.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadOnly {
    /// It is writable.
    #[default]
    No,
    /// The mount itself, not those below it.
    Top,
    /// With all mounts below it.
    All,
}

/// A detached copy of the mount that `source` lies on, from there on; `recursive` with the mounts below.
///
/// # Errors
/// When the kernel refuses, for instance a mount that must not be copied.
pub fn bind(source: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    mount::clone(source, recursive)
}

/// Gives the calling thread a mount namespace of its own, from which nothing reaches the host's. It ends with the
/// thread, and what was attached in it is detached then.
///
/// # Errors
/// When the kernel refuses.
pub fn leave_namespace() -> io::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS)?;
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let private = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    mount_setattr(root.as_fd(), true, &private)
}

/// Sets what a detached mount lets a container do. Device nodes never open on it.
///
/// # Errors
/// When the kernel refuses.
pub fn restrict(
    mount: BorrowedFd<'_>,
    read_only: ReadOnly,
    propagation: Propagation,
    recursive: bool,
) -> io::Result<()> {
    let kind = match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
    };
    let all = if read_only == ReadOnly::All { libc::MOUNT_ATTR_RDONLY } else { 0 };
    let attr = MountAttr { set: libc::MOUNT_ATTR_NODEV | all, propagation: kind, ..MountAttr::default() };
    mount_setattr(mount, recursive, &attr)?;
    match read_only {
        ReadOnly::Top => mount::make_read_only(mount, false),
        ReadOnly::No | ReadOnly::All => Ok(()),
    }
}

/// Takes the bits of other users' rights from programs on a detached mount, and the right to be executed.
///
/// # Errors
/// When the kernel refuses.
pub fn forbid(mount: BorrowedFd<'_>, suid: bool, exec: bool, recursive: bool) -> io::Result<()> {
    let bit = |wanted: bool, bit: u64| if wanted { bit } else { 0 };
    let set = bit(suid, libc::MOUNT_ATTR_NOSUID) | bit(exec, libc::MOUNT_ATTR_NOEXEC);
    match set {
        0 => Ok(()),
        set => mount_setattr(mount, recursive, &MountAttr { set, ..MountAttr::default() }),
    }
}

/// A detached copy of a filesystem in memory that is mounted at `path` in another mount namespace. The calling thread is
/// in that namespace afterwards, so it must be one of its own that ends.
///
/// # Errors
/// When there is a link on the way, something else than a filesystem in memory, or the kernel refuses.
pub fn memory_of(namespace: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?;
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))?;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    let kind = rustix::fs::fstatfs(&found)?.f_type;
    if u64::try_from(kind).ok() != Some(TMPFS) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no filesystem in memory"));
    }
    mount::clone(found.as_fd(), false)
}

/// A new detached filesystem: `options` are `key=value` or bare words, as `fsconfig(2)` takes them.
///
/// # Errors
/// When the kernel has no such filesystem or refuses an option or the source.
pub fn filesystem(fstype: &str, source: Option<&str>, options: &[String]) -> io::Result<OwnedFd> {
    let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(source) = source {
        fsconfig_set_string(&context, "source", source)?;
    }
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&context, key, value)?,
            None => fsconfig_set_flag(&context, option.as_str())?,
        }
    }
    mount::finish(context.as_fd(), Attributes::default())
}

/// Attaches a detached mount on a directory of the host.
///
/// # Errors
/// When the kernel refuses.
pub fn attach(mount: BorrowedFd<'_>, on: BorrowedFd<'_>) -> io::Result<()> {
    mount::attach(mount, on)
}

/// Takes away what is mounted at `path`; whoever uses it still can.
///
/// # Errors
/// When nothing is mounted there.
pub fn detach(path: &Path) -> io::Result<()> {
    Ok(unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

/// The content of these layers, topmost first, with the ids of the image and without write access.
///
/// # Errors
/// When the kernel refuses.
pub fn layers(lower: &[PathBuf]) -> io::Result<OwnedFd> {
    if let [only] = lower {
        let clone = mount::clone_path(only, false)?;
        restrict(clone.as_fd(), ReadOnly::Top, Propagation::Private, false)?;
        return Ok(clone);
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let words: Option<Vec<&str>> =
        lower.iter().map(|path| path.to_str().filter(|path| !path.contains([':', ',', '\\']))).collect();
    let words = words.ok_or(io::ErrorKind::InvalidInput)?;
    fsconfig_set_string(&context, "lowerdir", words.join(":"))?;
    let attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV, clear: 0 };
    mount::finish(context.as_fd(), attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_of(path: &Path) -> OwnedFd {
        openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    fn write(at: &OwnedFd, name: &str) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(openat(at, name, flags, Mode::from_raw_mode(0o600)).map(drop)?)
    }

    #[test]
    fn a_bind_without_write_access_leaves_its_source_writable() {
        assert!(rustix::process::geteuid().is_root(), "this test makes mounts and must run as root");
        let scratch = tempfile::tempdir().unwrap();
        let source = root_of(scratch.path());
        let clone = bind(source.as_fd(), true).unwrap();
        restrict(clone.as_fd(), ReadOnly::All, Propagation::Private, true).unwrap();
        assert_eq!(write(&clone, "x").unwrap_err().raw_os_error(), Some(libc::EROFS));
        write(&source, "x").unwrap();
    }

    #[test]
    fn layers_show_the_topmost_file_and_take_no_writes() {
        assert!(rustix::process::geteuid().is_root(), "this test makes mounts and must run as root");
        let scratch = tempfile::tempdir().unwrap();
        let dirs = ["top", "base"].map(|name| scratch.path().join(name));
        for dir in &dirs {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("name"), dir.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        for lower in [&dirs[..], &dirs[..1]] {
            let shown = layers(lower).unwrap();
            let file = openat(&shown, "name", OFlags::RDONLY, Mode::empty()).unwrap();
            assert_eq!(io::read_to_string(std::fs::File::from(file)).unwrap(), "top");
            assert_eq!(write(&shown, "x").unwrap_err().raw_os_error(), Some(libc::EROFS));
        }
    }
}
