//! How a container ended: the small file in its state directory that lets an
//! agent learn what it did not see happen.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, fsync, openat, renameat, unlinkat};
use serde::{Deserialize, Serialize};

/// How a container's first process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed something in it for want of memory.
    pub oom_killed: bool,
    /// When it was reaped, milliseconds since 1970.
    pub at_ms: u64,
}

const EXIT: &str = "exit.json";

impl Exit {
    /// Reads the record of an exit; `None` when there is none or it is damaged.
    pub fn read(state_dir: &Path) -> Option<Exit> {
        serde_json::from_str(&read_small(state_dir.join(EXIT)).ok()?).ok()
    }

    /// Writes the record so that it is on disk, whole, when this returns.
    pub(crate) fn write(&self, state_dir: impl AsFd) -> io::Result<()> {
        let dir = state_dir.as_fd();
        let temporary = "exit.json.new";
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = std::fs::File::from(openat(dir, temporary, flags, Mode::from_raw_mode(0o600))?);
        serde_json::to_writer(&mut file, self)?;
        fsync(&file)?;
        renameat(dir, temporary, dir, EXIT)?;
        Ok(fsync(dir)?)
    }
}

/// Removes what an earlier run of the same container left.
pub(crate) fn forget(state_dir: impl AsFd) {
    // Absent is what is wanted.
    let _ = unlinkat(state_dir, EXIT, AtFlags::empty());
}

/// Reads a file of at most 64 KiB.
pub(crate) fn read_small(path: impl rustix::path::Arg) -> io::Result<String> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(std::fs::File::from(file), 64 * 1024), &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_record_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let exit = Exit { code: 137, signal: Some(9), oom_killed: true, at_ms: 5 };
        assert_eq!(Exit::read(dir.path()), None);
        exit.write(std::fs::File::open(dir.path()).unwrap()).unwrap();
        assert_eq!(Exit::read(dir.path()), Some(exit));
    }
}
