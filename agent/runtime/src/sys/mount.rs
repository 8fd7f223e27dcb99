//! `mount_setattr(2)`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;

/// What `mount_setattr` changes; a zero field changes nothing. Laid out as `struct mount_attr`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct MountAttr {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, ... or zero.
    pub propagation: u64,
    /// A user namespace's descriptor, read with `MOUNT_ATTR_IDMAP`.
    pub userns: u64,
}

impl MountAttr {
    /// Shows the mount's ids through the mapping of `userns`.
    pub(crate) fn id_map(mut self, userns: BorrowedFd<'_>) -> Self {
        self.set |= libc::MOUNT_ATTR_IDMAP;
        // A descriptor is never negative.
        self.userns = u64::from(userns.as_raw_fd().unsigned_abs());
        self
    }
}

/// Changes the mount `mount` is the root of, and with `recursive` all mounts below it.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal and `attr` is a live `struct mount_attr` (repr(C), the four
    // fields of version 0) whose exact size is passed; the kernel only reads both, during the call.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}
