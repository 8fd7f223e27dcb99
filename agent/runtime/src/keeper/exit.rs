//! How a container ended: the small file in its state directory that lets an
//! agent learn what it did not see happen.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;
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

/// There from a container's start until its exit is recorded, under whose name it is then found. Neither its
/// making nor what is in it is synced: it tells of crashes of ours, not of the host's.
const RUNNING: &str = "running";

/// What a state directory tells of the last run of its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastRun {
    /// It never ran.
    None,
    /// It was started, and nobody recorded its end.
    Running,
    /// It has ended.
    Ended(Exit),
}

impl LastRun {
    /// Reads it. A damaged record of an exit counts as none.
    pub fn read(state_dir: &Path) -> LastRun {
        match Exit::read(state_dir) {
            Some(exit) => LastRun::Ended(exit),
            None if state_dir.join(RUNNING).exists() => LastRun::Running,
            None => LastRun::None,
        }
    }
}

/// Remembers that the container runs, and forgets how it ended before.
pub(crate) fn begin(state_dir: impl AsFd) -> io::Result<()> {
    openat(&state_dir, RUNNING, NEW, Mode::from_raw_mode(0o600))?;
    match unlinkat(&state_dir, EXIT, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

const NEW: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::TRUNC).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Exit {
    /// Reads the record of an exit; `None` when there is none or it is damaged.
    pub fn read(state_dir: &Path) -> Option<Exit> {
        serde_json::from_str(&read_small(state_dir.join(EXIT)).ok()?).ok()
    }

    /// Writes the record so that it is on disk, whole, when this returns.
    pub(crate) fn write(&self, state_dir: impl AsFd) -> io::Result<()> {
        let dir = state_dir.as_fd();
        fsync(self.put(dir)?)?;
        renameat(dir, RUNNING, dir, EXIT)?;
        Ok(fsync(dir)?)
    }

    /// Writes the record for whoever comes after a crash of ours, and does not wait for the disk.
    pub(crate) fn note(&self, state_dir: impl AsFd) -> io::Result<()> {
        let dir = state_dir.as_fd();
        drop(self.put(dir)?);
        Ok(renameat(dir, RUNNING, dir, EXIT)?)
    }

    fn put(&self, dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let file = openat(dir, RUNNING, NEW, Mode::from_raw_mode(0o600))?;
        let text = serde_json::to_vec(self)?;
        match rustix::io::write(&file, &text)? {
            count if count == text.len() => Ok(file),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Records the end of a container whose keeper did not live to do so.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub fn settle(&self, state_dir: &Path) -> io::Result<()> {
        self.write(std::fs::File::open(state_dir)?)
    }
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
        assert_eq!(Exit::read(dir.path()), Some(exit.clone()));
        let again = Exit { code: 1, ..exit };
        again.note(std::fs::File::open(dir.path()).unwrap()).unwrap();
        assert_eq!(Exit::read(dir.path()), Some(again));
    }

    #[test]
    fn a_run_without_an_end_is_told_from_none_and_from_an_earlier_end() {
        let dir = tempfile::tempdir().unwrap();
        let open = || std::fs::File::open(dir.path()).unwrap();
        assert_eq!(LastRun::read(dir.path()), LastRun::None);
        for at_ms in [1, 2] {
            begin(open()).unwrap();
            assert_eq!(LastRun::read(dir.path()), LastRun::Running);
            let exit = Exit { code: 3, signal: None, oom_killed: false, at_ms };
            exit.settle(dir.path()).unwrap();
            assert_eq!(LastRun::read(dir.path()), LastRun::Ended(exit));
        }
    }
}
