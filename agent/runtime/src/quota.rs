//! How much a directory may hold, by project quota: ext4 and xfs count the blocks of all files of a project, and what
//! is made in a directory of a project belongs to it too.
//!
//! Deliberately absent: choosing project ids, which is the caller's business.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::quota;

/// `FS_XFLAG_PROJINHERIT`: what is made in the directory belongs to its project.
const INHERIT: u32 = 0x200;

/// Makes `directory` the root of project `project`, which may hold `bytes` (rounded up to whole KiB).
///
/// # Errors
/// `ESRCH` or `EOPNOTSUPP` (and `ENOSYS` before Linux 5.14) where the filesystem counts no projects.
pub fn limit(directory: BorrowedFd<'_>, project: u32, bytes: u64) -> io::Result<()> {
    quota::limit(directory, project, bytes.div_ceil(1024).max(1))?;
    let mut attributes = quota::attributes(directory)?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    quota::set_attributes(directory, &attributes)
}

/// Takes the limit from a project whose files are gone.
///
/// # Errors
/// As [`limit`].
pub fn forget(directory: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    quota::limit(directory, project, 0)
}

/// The bytes a project uses, and those it may.
///
/// # Errors
/// As [`limit`].
pub fn usage(directory: BorrowedFd<'_>, project: u32) -> io::Result<(u64, u64)> {
    let quota = quota::read(directory, project)?;
    Ok((quota.space, quota.hard_blocks.saturating_mul(1024)))
}
