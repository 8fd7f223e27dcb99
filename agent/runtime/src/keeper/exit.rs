//! How a container ended, and which process it is: the two small files in its
//! state directory that let an agent learn what it did not see happen.

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

/// Which process a container is. A pid alone is not enough, as pids come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessState {
    /// The container's id.
    pub id: String,
    /// Its first process.
    pub pid: i32,
    /// When that process started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    /// The boot it lives in.
    pub boot_id: String,
}

const EXIT: &str = "exit.json";
const STATE: &str = "state.json";

impl Exit {
    /// Reads the record of an exit; `None` when there is none or it is damaged.
    pub fn read(state_dir: &Path) -> Option<Exit> {
        read_json(state_dir, EXIT)
    }

    /// Writes the record so that it is on disk, whole, when this returns.
    pub(crate) fn write(&self, state_dir: impl AsFd) -> io::Result<()> {
        write_json(state_dir, EXIT, self, true)
    }
}

impl ProcessState {
    /// Reads which process a container was last; `None` when it never had one.
    pub fn read(state_dir: &Path) -> Option<ProcessState> {
        read_json(state_dir, STATE)
    }

    pub(crate) fn of(id: &str, pid: i32) -> io::Result<ProcessState> {
        let start_ticks = start_ticks(pid)?;
        let boot_id = read_small("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(ProcessState { id: id.to_owned(), pid, start_ticks, boot_id })
    }

    /// Not synced: after a power cut the process is gone anyway.
    pub(crate) fn write(&self, state_dir: impl AsFd) -> io::Result<()> {
        write_json(state_dir, STATE, self, false)
    }

    /// Whether that very process still exists.
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid).is_ok_and(|ticks| ticks == self.start_ticks)
            && read_small("/proc/sys/kernel/random/boot_id").is_ok_and(|id| id.trim() == self.boot_id)
    }
}

/// Removes what an earlier run of the same container left.
pub(crate) fn forget(state_dir: impl AsFd) {
    for name in [EXIT, STATE] {
        // Absent is what is wanted.
        let _ = unlinkat(state_dir.as_fd(), name, AtFlags::empty());
    }
}

fn start_ticks(pid: i32) -> io::Result<u64> {
    let stat = read_small(format!("/proc/{pid}/stat"))?;
    parse_start_ticks(&stat).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has no start time")))
}

/// The command in the second field may hold spaces and brackets, so fields are
/// counted from its last bracket.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Reads a file of at most 64 KiB.
pub(crate) fn read_small(path: impl rustix::path::Arg) -> io::Result<String> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(std::fs::File::from(file), 64 * 1024), &mut text)?;
    Ok(text)
}

fn read_json<T: for<'a> Deserialize<'a>>(state_dir: &Path, name: &str) -> Option<T> {
    serde_json::from_str(&read_small(state_dir.join(name)).ok()?).ok()
}

fn write_json<T: Serialize>(state_dir: impl AsFd, name: &str, value: &T, durable: bool) -> io::Result<()> {
    let dir = state_dir.as_fd();
    let temporary = format!("{name}.new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(dir, &temporary, flags, Mode::from_raw_mode(0o600))?;
    let mut file = std::fs::File::from(file);
    serde_json::to_writer(&mut file, value)?;
    if durable {
        fsync(&file)?;
    }
    renameat(dir, &temporary, dir, name)?;
    if durable {
        fsync(dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_a_hostile_command_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1000 1 184";
        assert_eq!(parse_start_ticks(stat), Some(777));
        assert_eq!(parse_start_ticks("42 (a"), None);
    }

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let me = ProcessState::of("x", std::process::id().cast_signed()).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessState { start_ticks: me.start_ticks + 1, ..me.clone() }.is_alive());
        assert!(!ProcessState { boot_id: "other".into(), ..me }.is_alive());
    }

    #[test]
    fn an_exit_record_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let exit = Exit { code: 137, signal: Some(9), oom_killed: true, at_ms: 5 };
        assert_eq!(Exit::read(dir.path()), None);
        exit.write(std::fs::File::open(dir.path()).unwrap()).unwrap();
        assert_eq!(Exit::read(dir.path()), Some(exit));
    }
}
