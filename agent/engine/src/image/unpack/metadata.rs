//! Owner, mode, extended attributes and times, always on a descriptor or on a name that is not followed.

use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr,
    futimens, utimensat,
};
use rustix::io::Errno;

use super::UnpackError;
use super::archive::Entry;

/// Applies everything but times to a file or directory that was opened by its creation.
pub(super) fn apply(fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), UnpackError> {
    // The owner first: changing it drops setuid bits and file capabilities.
    fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
        .map_err(|fault| UnpackError::write("set the owner of", &entry.path, fault))?;
    fchmod(fd, Mode::from_raw_mode(entry.mode))
        .map_err(|fault| UnpackError::write("set the mode of", &entry.path, fault))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name)) {
        let outcome = fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
        // A file system without user attributes does without, as in Docker.
        if outcome != Err(Errno::OPNOTSUPP) || !name.starts_with(b"user.") {
            outcome.map_err(|fault| UnpackError::write("set an attribute of", &entry.path, fault))?;
        }
    }
    Ok(())
}

/// Applies owner, mode and times to a device or fifo that was just created as `name` in `parent`.
pub(super) fn apply_to_node(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
    apply_to_link(parent, name, entry)?;
    // A node cannot be opened for real: that would reach the device. This name was made a moment ago by the only one
    // who writes here, so no link can stand for it.
    chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
        .map_err(|fault| UnpackError::write("set the mode of", &entry.path, fault))
}

/// Applies owner and times to a symbolic link; links have no mode.
pub(super) fn apply_to_link(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|fault| UnpackError::write("set the owner of", &entry.path, fault))?;
    utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|fault| UnpackError::write("set the time of", &entry.path, fault))
}

/// Sets the times of something that is open.
pub(super) fn apply_times(fd: BorrowedFd<'_>, path: &[u8], mtime: (i64, u32)) -> Result<(), UnpackError> {
    futimens(fd, &times(mtime)).map_err(|fault| UnpackError::write("set the time of", path, fault))
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}

/// `trusted.*` and `user.overlay.*` would speak to overlayfs, `system.*` and the other `security.*` to the host.
fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}
