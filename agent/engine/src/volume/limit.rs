//! Limits of volumes by project quota, and what to do where there is none.

use std::os::fd::BorrowedFd;

use agent_runtime::quota;
use rustix::io::Errno;

use super::VolumeError;

/// Lets the directory hold so many bytes.
pub(super) fn set(
    name: &str,
    directory: BorrowedFd<'_>,
    project: u32,
    bytes: u64,
) -> Result<(), VolumeError> {
    quota::limit(directory, project, bytes)
        .map_err(|error| VolumeError::NoQuota { name: name.to_owned(), reason: reason(&error) })
}

fn reason(error: &std::io::Error) -> String {
    let missing = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::SRCH | Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::NODEV) => {
            "project quotas are not on where the data directory lies: it takes ext4 made with \
             `mkfs.ext4 -O quota,project` (or changed by tune2fs while unmounted) or xfs, mounted with `-o prjquota`"
        }
        Some(Errno::NOSYS) => "it takes Linux 5.14",
        _ => return error.to_string(),
    };
    format!("{missing} ({error})")
}
