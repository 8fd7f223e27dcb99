//! Project quotas: the project a directory belongs to, and what that project may use.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;

/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR` (`_IOR('X', 31)` and `_IOW('X', 32)` of 28 bytes).
const GET: libc::Ioctl = 0x801c_581f_u32 as libc::Ioctl;
const SET: libc::Ioctl = 0x401c_5820;

/// `QCMD(cmd, PRJQUOTA)`.
const Q_SETQUOTA: libc::c_uint = 0x0080_0008_u32 << 8 | 2;
const Q_GETQUOTA: libc::c_uint = 0x0080_0007_u32 << 8 | 2;

/// Which fields of [`Quota`] are meant: `QIF_BLIMITS`.
const BLOCK_LIMITS: u32 = 1;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct FsAttributes {
    pub flags: u32,
    pub extent_size: u32,
    pub extents: u32,
    pub project: u32,
    pub cow_extent_size: u32,
    pub padding: [u8; 8],
}

/// `struct if_dqblk`; limits are in blocks of 1024 bytes, `space` in bytes.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Quota {
    pub hard_blocks: u64,
    pub soft_blocks: u64,
    pub space: u64,
    pub hard_inodes: u64,
    pub soft_inodes: u64,
    pub inodes: u64,
    pub block_time: u64,
    pub inode_time: u64,
    pub valid: u32,
}

/// The attributes of what `file` is open on.
pub(crate) fn attributes(file: BorrowedFd<'_>) -> io::Result<FsAttributes> {
    let mut found = FsAttributes::default();
    // SAFETY: the request's structure has 28 bytes, as `FsAttributes` (repr(C): five u32 and eight bytes) has; the
    // kernel writes it during the call only.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), GET, std::ptr::from_mut(&mut found)) }.into())?;
    Ok(found)
}

/// Sets them.
pub(crate) fn set_attributes(file: BorrowedFd<'_>, wanted: &FsAttributes) -> io::Result<()> {
    // SAFETY: as above, and the kernel only reads it.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), SET, std::ptr::from_ref(wanted)) }.into()).map(drop)
}

/// Limits what project `project` may use of the filesystem that `file` is on, in blocks of 1024 bytes.
pub(crate) fn limit(file: BorrowedFd<'_>, project: u32, blocks: u64) -> io::Result<()> {
    let mut quota = Quota { hard_blocks: blocks, valid: BLOCK_LIMITS, ..Quota::default() };
    quotactl(file, Q_SETQUOTA, project, &mut quota)
}

/// What project `project` may use and uses.
pub(crate) fn read(file: BorrowedFd<'_>, project: u32) -> io::Result<Quota> {
    let mut quota = Quota::default();
    quotactl(file, Q_GETQUOTA, project, &mut quota)?;
    Ok(quota)
}

fn quotactl(file: BorrowedFd<'_>, command: libc::c_uint, id: u32, quota: &mut Quota) -> io::Result<()> {
    // SAFETY: `quota` is a live `struct if_dqblk` (repr(C), eight u64 and a u32), which both commands take; the
    // kernel reads or writes it during the call only.
    checked(unsafe {
        libc::syscall(libc::SYS_quotactl_fd, file.as_raw_fd(), command, id, std::ptr::from_mut(quota))
    })
    .map(drop)
}
