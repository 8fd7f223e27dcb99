//! The lock that keeps two agents out of one data directory: flock on `<dir>/lock`, held by the writer.
//!
//! sled locks its own file too, but says so only in the text of an error; this lock gives a typed answer.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::RecordsError;

/// A predecessor that was killed a moment ago may still be closing its descriptors.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Locks `dir`; the lock lasts as long as the file that is returned.
pub(super) fn take(dir: &Path) -> Result<File, RecordsError> {
    let failed = |reason: String| RecordsError::Open { dir: dir.to_path_buf(), reason };
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|fault| failed(fault.to_string()))?;
    for _ in 0..ATTEMPTS {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(PAUSE),
            Err(fault) => return Err(failed(fault.to_string())),
        }
    }
    Err(RecordsError::InUse { dir: dir.to_path_buf() })
}
