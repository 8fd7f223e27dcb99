//! The keeper's own log file, `keeper.log` in its data directory: one line per
//! container made or ended and per thing gone wrong, with the trace id of the
//! request behind it. At most two files of 4 MiB. It is also the keeper's
//! standard error, so that nothing is lost that the standard library says.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fstat, openat, renameat};

use super::time;

const NAME: &str = "keeper.log";
const OLD: &str = "keeper.log.1";
const MAX_BYTES: u64 = 4 << 20;
const MAX_LINE: usize = 4096;

/// Writes `keeper.log`.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: OwnedFd,
    file: OwnedFd,
    size: u64,
}

impl Journal {
    pub(crate) fn open(dir: OwnedFd) -> io::Result<Journal> {
        let (file, size) = open(&dir)?;
        Ok(Journal { dir, file, size })
    }

    /// Makes it the standard error of this process.
    pub(crate) fn become_stderr(&self) -> io::Result<()> {
        Ok(rustix::stdio::dup2_stderr(&self.file)?)
    }

    /// Writes one line. A journal that cannot be written is no reason to stop.
    pub(crate) fn line(&mut self, text: &str, traceparent: Option<&str>) {
        let mut line = format!("{} {}", time::rfc3339(time::now_ns()), text.replace(['\n', '\r'], " "));
        let mut end = line.len().min(MAX_LINE);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        if let Some(trace) = traceparent.and_then(trace_id) {
            line.push_str(" trace=");
            line.push_str(trace);
        }
        line.push('\n');
        if self.size + line.len() as u64 > MAX_BYTES {
            self.rotate();
        }
        if let Ok(count) = rustix::io::write(&self.file, line.as_bytes()) {
            self.size += count as u64;
        }
    }

    fn rotate(&mut self) {
        if renameat(&self.dir, NAME, &self.dir, OLD).is_ok()
            && let Ok((file, size)) = open(&self.dir)
        {
            (self.file, self.size) = (file, size);
            // The old file stays standard error when this fails; it is capped by its rarity.
            let _ = self.become_stderr();
        }
    }
}

fn open(dir: impl AsFd) -> io::Result<(OwnedFd, u64)> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(dir, NAME, flags, Mode::from_raw_mode(0o600))?;
    let size = u64::try_from(fstat(&file)?.st_size).unwrap_or(0);
    Ok((file, size))
}

/// The trace id in a W3C `traceparent`, `version-traceid-parentid-flags`.
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_carries_the_trace_and_nothing_can_add_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(std::fs::File::open(dir.path()).unwrap().into()).unwrap();
        journal.line("create a\nb", Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        journal.line("exit", Some("garbage\n"));
        let text = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("create a b trace=0af7651916cd43dd8448eb211c80319c"));
        assert!(lines[1].ends_with("exit"));
    }

    #[test]
    fn the_journal_never_holds_more_than_two_files_of_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(std::fs::File::open(dir.path()).unwrap().into()).unwrap();
        journal.size = MAX_BYTES - 10;
        let stderr = rustix::io::dup(rustix::stdio::stderr()).unwrap();
        journal.line("rotates", None);
        rustix::stdio::dup2_stderr(stderr).unwrap();
        assert!(dir.path().join(OLD).exists());
        assert!(journal.size < 1000);
    }
}
