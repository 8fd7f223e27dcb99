//! Writing a container's log: lines in, records out, files rotated by size. The forms of the records are in
//! [`crate::log`]; `repair` is what a crash makes necessary.
//!
//! Lines are cut at 16 KiB, so one that never ends takes no more memory than that. A full disk loses lines, never the
//! container: the file is cut back to its last whole record and writing is tried again with the next one. Readers
//! are not known here.

mod files;
mod repair;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, fstat, ftruncate, mkdirat};
use rustix::io::Errno;

use self::files::Files;
use super::output::Source;
use super::time;
use crate::container::LogPolicy;
use crate::log::compact::{self, Making, Seed};
use crate::log::json::{self, Attributes};
use crate::log::{Layout, Line, MAX_PIECE};

/// So many bytes of records are gathered before they are written.
const BATCH: usize = 128 * 1024;

/// A clock that was set back by more than this is believed.
const STEP_BACK: u64 = 1_000_000_000;

/// Writes one container's log.
#[derive(Debug)]
pub(crate) struct Log {
    files: Files,
    file: OwnedFd,
    /// Bytes in the file.
    size: u64,
    policy: LogPolicy,
    form: Form,
    /// Records that are not written yet.
    batch: Vec<u8>,
    /// One record that is not in the batch yet.
    record: Vec<u8>,
    partial: [Vec<u8>; 2],
    last_ns: u64,
}

/// What the records look like.
#[derive(Debug)]
enum Form {
    Compact { seed: Seed, making: Option<Making> },
    Json(Attributes),
}

impl Log {
    /// Opens the log in `state_dir`, going on with what is there; `None` when nothing is to be kept.
    pub(crate) fn open(state_dir: impl AsFd, id: &str, policy: &LogPolicy) -> io::Result<Option<Log>> {
        let Some(layout) = Layout::of(policy.driver) else {
            return Ok(None);
        };
        if layout == Layout::Compact {
            match mkdirat(state_dir.as_fd(), "log", Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let files = Files::open(state_dir.as_fd(), layout, id, policy.compress)?;
        let file = files.open_current()?;
        let size = u64::try_from(fstat(&file)?.st_size).unwrap_or(0);
        let mut log = Log {
            files,
            file,
            size,
            policy: policy.clone(),
            form: Form::Json(Attributes::new(&policy.attributes)),
            batch: Vec::new(),
            record: Vec::new(),
            partial: [Vec::new(), Vec::new()],
            last_ns: 0,
        };
        log.go_on()?;
        Ok(Some(log))
    }

    /// Makes a file that is there fit to be gone on with, and a new one begin as it has to.
    fn go_on(&mut self) -> io::Result<()> {
        let whole = match self.files.layout() {
            Layout::Compact => {
                let found = if self.size > 0 { repair::compact(&self.file, self.size)? } else { None };
                let (seed, whole) = found.unwrap_or_else(|| (Seed::random(), 0));
                self.form = Form::Compact { seed, making: None };
                whole
            }
            Layout::Json | Layout::Old if self.size > 0 => repair::lines(&self.file, self.size)?,
            Layout::Json | Layout::Old => 0,
        };
        if whole < self.size {
            ftruncate(&self.file, whole)?;
            self.size = whole;
        }
        self.begin_file();
        Ok(())
    }

    /// A new file's first bytes, written with its first record.
    fn begin_file(&mut self) {
        if let (Form::Compact { seed, .. }, 0) = (&self.form, self.size) {
            self.batch.extend_from_slice(&seed.file_head());
        }
    }

    /// Writes the whole lines in `bytes`, and keeps the rest for the next call.
    pub(crate) fn append(&mut self, source: Source, bytes: &[u8]) -> io::Result<()> {
        self.tick();
        let mut partial = std::mem::take(&mut self.partial[source.index()]);
        let mut written = Ok(());
        for chunk in bytes.split_inclusive(|byte| *byte == b'\n') {
            partial.extend_from_slice(chunk);
            while partial.len() > MAX_PIECE || partial.ends_with(b"\n") {
                let rest = partial.split_off(piece(&partial));
                written = written.and(self.line(source, &partial));
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
            self.tick();
            self.line(source, &rest)?;
        }
        self.flush()
    }

    /// Times rise from line to line, so that a reader can say where it was.
    fn tick(&mut self) {
        let now = time::now_ns();
        if now > self.last_ns || self.last_ns - now > STEP_BACK {
            self.last_ns = now;
        }
    }

    fn line(&mut self, source: Source, bytes: &[u8]) -> io::Result<()> {
        self.last_ns += 1;
        let (text, is_whole) = match bytes.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (bytes, false),
        };
        let line = Line { time_ns: self.last_ns, stderr: source == Source::Stderr, text, is_whole };
        self.record.clear();
        let around = match &self.form {
            Form::Json(attributes) => {
                json::encode(&mut self.record, line, attributes);
                0
            }
            Form::Compact { .. } => {
                compact::line(&mut self.record, text, is_whole);
                compact::HEAD + compact::TAIL
            }
        };
        let more = (self.batch.len() + self.record.len() + around) as u64;
        let first = if matches!(self.form, Form::Json(_)) { 0 } else { compact::FILE_HEAD };
        let is_new = self.size + self.batch.len() as u64 <= first as u64;
        if self.size + more > self.policy.max_bytes && !is_new {
            let is_far_over = self.size + more > self.policy.max_bytes.saturating_mul(2);
            let flushed = self.flush();
            flushed.and(self.rotate(is_far_over))?;
        }
        self.push(line);
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Adds the record to the batch.
    fn push(&mut self, line: Line<'_>) {
        let Form::Compact { seed, making } = &mut self.form else {
            self.batch.extend_from_slice(&self.record);
            return;
        };
        let fits = |making: &Making| making.stderr == line.stderr && making.next_time() == line.time_ns;
        let mut frame = match making.take() {
            Some(frame) if fits(&frame) => frame,
            other => {
                if let Some(frame) = other {
                    frame.end(&mut self.batch, *seed);
                }
                Making::begin(&mut self.batch, line.time_ns, line.stderr)
            }
        };
        frame.push(&mut self.batch, &self.record);
        *making = Some(frame);
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Form::Compact { seed, making } = &mut self.form {
            match making.take() {
                Some(frame) => frame.end(&mut self.batch, *seed),
                // Nothing but a new file's head, which waits for something to come after it.
                None => return Ok(()),
            }
        }
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
        self.begin_file();
        result
    }

    /// The file that is written becomes the first of the old ones, and the last of those goes; with the next record
    /// instead while somebody holds the names, unless it must be now.
    fn rotate(&mut self, must: bool) -> io::Result<()> {
        if !self.files.rotate(self.policy.max_files.saturating_sub(1), must)? {
            return Ok(());
        }
        self.file = self.files.open_current()?;
        self.size = 0;
        self.batch.clear();
        if let Form::Compact { seed, .. } = &mut self.form {
            *seed = Seed::random();
        }
        self.begin_file();
        Ok(())
    }
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
mod tests;
