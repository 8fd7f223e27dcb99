//! A container's log files: one JSON object per line, as Docker's json-file
//! driver writes them, in `log/current`, rotated to `log/1`, `log/2` and so on.
//!
//! Lines are cut at 16 KiB; a piece that does not end its line has no line
//! feed. A full disk loses lines, never the container: the file is cut back to
//! its last whole line and writing is tried again with the next one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, fstat, ftruncate, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::Serialize;

use super::output::Source;
use super::time;
use crate::container::LogPolicy;

/// The longest piece of a line in one record, in bytes.
pub const MAX_PIECE: usize = 16 * 1024;

/// So many bytes of records are gathered before they are written.
const BATCH: usize = 128 * 1024;

const CURRENT: &str = "current";

/// Writes one container's log.
#[derive(Debug)]
pub(crate) struct Log {
    dir: OwnedFd,
    file: OwnedFd,
    size: u64,
    policy: LogPolicy,
    batch: Vec<u8>,
    partial: [Vec<u8>; 2],
}

#[derive(Serialize)]
struct Record<'a> {
    log: &'a str,
    stream: &'static str,
    time: &'a str,
}

impl Log {
    /// Opens the log in `state_dir`, going on with what is there.
    pub(crate) fn open(state_dir: impl AsFd, policy: LogPolicy) -> io::Result<Log> {
        match mkdirat(state_dir.as_fd(), "log", Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let dir = openat(state_dir, "log", flags, Mode::empty())?;
        let file = open_current(&dir)?;
        let size = u64::try_from(fstat(&file)?.st_size).unwrap_or(0);
        Ok(Log { dir, file, size, policy, batch: Vec::new(), partial: [Vec::new(), Vec::new()] })
    }

    /// Writes the whole lines in `bytes`, and keeps the rest for the next call.
    pub(crate) fn append(&mut self, source: Source, bytes: &[u8]) -> io::Result<()> {
        let stamp = time::rfc3339(time::now_ns());
        let mut partial = std::mem::take(&mut self.partial[source.index()]);
        let mut written = Ok(());
        for chunk in bytes.split_inclusive(|byte| *byte == b'\n') {
            partial.extend_from_slice(chunk);
            while partial.len() > MAX_PIECE || partial.ends_with(b"\n") {
                let rest = partial.split_off(piece(&partial));
                written = written.and(self.record(source, &partial, &stamp));
                partial = rest;
            }
        }
        self.partial[source.index()] = partial;
        written.and(self.flush())
    }

    /// Writes what is left of an unfinished line. The stream has ended.
    pub(crate) fn finish(&mut self, source: Source) -> io::Result<()> {
        let rest = std::mem::take(&mut self.partial[source.index()]);
        if !rest.is_empty() {
            let stamp = time::rfc3339(time::now_ns());
            self.record(source, &rest, &stamp)?;
        }
        self.flush()
    }

    fn record(&mut self, source: Source, line: &[u8], stamp: &str) -> io::Result<()> {
        let before = self.batch.len();
        let record = Record { log: &String::from_utf8_lossy(line), stream: source.name(), time: stamp };
        serde_json::to_writer(&mut self.batch, &record)?;
        self.batch.push(b'\n');
        if self.size + self.batch.len() as u64 > self.policy.max_bytes && self.size + before as u64 > 0 {
            let record = self.batch.split_off(before);
            let flushed = self.flush();
            self.batch = record;
            flushed.and(self.rotate())?;
        }
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut rest = self.batch.as_slice();
        let result = loop {
            if rest.is_empty() {
                break Ok(());
            }
            match rustix::io::write(&self.file, rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(error) => break Err(error.into()),
            }
        };
        match &result {
            Ok(()) => self.size += self.batch.len() as u64,
            // Half a record would damage the next one too.
            Err(_) => ftruncate(&self.file, self.size)?,
        }
        self.batch.clear();
        if self.batch.capacity() > 2 * BATCH {
            self.batch = Vec::new();
        }
        result
    }

    /// `current` becomes `1`, `1` becomes `2`, the last one goes.
    fn rotate(&mut self) -> io::Result<()> {
        let kept = self.policy.max_files.saturating_sub(1);
        if kept == 0 {
            unlinkat(&self.dir, CURRENT, AtFlags::empty())?;
        } else {
            for number in (1..kept).rev() {
                match renameat(&self.dir, number.to_string(), &self.dir, (number + 1).to_string()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            renameat(&self.dir, CURRENT, &self.dir, "1")?;
        }
        self.file = open_current(&self.dir)?;
        self.size = 0;
        Ok(())
    }
}

fn open_current(dir: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat(dir, CURRENT, flags, Mode::from_raw_mode(0o600))?)
}

/// How much of `line` goes into one record: all of it, or up to the limit
/// without cutting a character in two.
fn piece(line: &[u8]) -> usize {
    if line.len() <= MAX_PIECE {
        return line.len();
    }
    let is_inside = |at: usize| line[at] & 0b1100_0000 == 0b1000_0000;
    (MAX_PIECE - 3..=MAX_PIECE).rev().find(|at| !is_inside(*at)).unwrap_or(MAX_PIECE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Scratch {
        dir: tempfile::TempDir,
        log: Log,
    }

    fn scratch(max_bytes: u64, max_files: u32) -> Scratch {
        let dir = tempfile::tempdir().unwrap();
        let log =
            Log::open(std::fs::File::open(dir.path()).unwrap(), LogPolicy { max_bytes, max_files }).unwrap();
        Scratch { dir, log }
    }

    impl Scratch {
        /// The text of all files, oldest first, per stream.
        fn text(&self) -> Vec<(String, String)> {
            let read = |name: &str| std::fs::read_to_string(self.dir.path().join("log").join(name)).ok();
            let mut files: Vec<String> = (1..100).map_while(|number| read(&number.to_string())).collect();
            files.reverse();
            files.push(read(CURRENT).unwrap());
            let parse = |line: &str| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                let field = |name: &str| value[name].as_str().unwrap().to_owned();
                assert_eq!(field("time").len(), "2026-11-21T03:00:00.123456789Z".len());
                (field("stream"), field("log"))
            };
            files.iter().flat_map(|file| file.lines().map(parse).collect::<Vec<_>>()).collect()
        }
    }

    #[test]
    fn a_line_is_recorded_once_it_is_whole_or_its_stream_has_ended() {
        let mut scratch = scratch(1 << 20, 3);
        scratch.log.append(Source::Stdout, b"one\ntw").unwrap();
        scratch.log.append(Source::Stderr, b"err\n").unwrap();
        assert_eq!(scratch.text().len(), 2);
        scratch.log.append(Source::Stdout, b"o\nrest").unwrap();
        scratch.log.finish(Source::Stdout).unwrap();
        let texts: Vec<String> = scratch.text().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["one\n", "err\n", "two\n", "rest"]);
    }

    #[test]
    fn rotation_keeps_the_newest_lines_and_no_more_files_than_allowed() {
        let mut scratch = scratch(2_000, 3);
        for number in 0..500 {
            scratch.log.append(Source::Stdout, format!("line {number}\n").as_bytes()).unwrap();
        }
        let text = scratch.text();
        assert_eq!(text.last().unwrap().1, "line 499\n");
        let first: usize = text[0].1.trim_start_matches("line ").trim().parse().unwrap();
        for (line, number) in text.iter().zip(first..) {
            assert_eq!(line.1, format!("line {number}\n"));
        }
        assert_eq!(std::fs::read_dir(scratch.dir.path().join("log")).unwrap().count(), 3);
        for name in ["current", "1", "2"] {
            assert!(std::fs::metadata(scratch.dir.path().join("log").join(name)).unwrap().len() <= 2_000);
        }
    }

    #[test]
    fn a_reopened_log_goes_on_where_it_was() {
        let mut scratch = scratch(1 << 20, 1);
        scratch.log.append(Source::Stdout, b"a\n").unwrap();
        let dir = std::fs::File::open(scratch.dir.path()).unwrap();
        scratch.log = Log::open(dir, LogPolicy { max_bytes: 1 << 20, max_files: 1 }).unwrap();
        scratch.log.append(Source::Stdout, b"b\n").unwrap();
        assert_eq!(scratch.text().len(), 2);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_long_lines_cut_between_characters() {
        let mut scratch = scratch(1 << 20, 2);
        let long = "é".repeat(MAX_PIECE);
        scratch.log.append(Source::Stdout, b"\xff\xfe\n").unwrap();
        scratch.log.append(Source::Stdout, format!("x{long}\n").as_bytes()).unwrap();
        let text = scratch.text();
        assert_eq!(text[0].1, "\u{fffd}\u{fffd}\n");
        let joined: String = text[1..].iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(joined, format!("x{long}\n"));
        assert!(text[1].1.len() <= MAX_PIECE && !text[1].1.ends_with('\n'));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_log_holds_every_byte_of_text_in_order(chunks in prop::collection::vec("[a-c\n]{0,40}", 0..40), files in 1_u32..4) {
            let mut scratch = scratch(u64::MAX, files);
            for chunk in &chunks {
                scratch.log.append(Source::Stdout, chunk.as_bytes()).unwrap();
            }
            scratch.log.finish(Source::Stdout).unwrap();
            let joined: String = scratch.text().into_iter().map(|(_, text)| text).collect();
            prop_assert_eq!(joined, chunks.concat());
        }
    }
}
