//! Reads a container's log files in order while the keeper writes and rotates them: when the file that is written is
//! another than ours, the rest of ours is read, then the file that came after it. Blocking.

use std::collections::VecDeque;
use std::io;

use super::LogEntry;
use super::cursor::{Cursor, Tail};
use super::files::Files;
use super::identity::Identity;

/// Lines read at a time, or a few more.
const BATCH: usize = 512;

/// A place in a log.
#[derive(Debug)]
pub(super) struct Reader {
    files: Files,
    at: Option<Cursor>,
    /// Only until the first read: how many of the last lines are wanted.
    tail: Option<usize>,
    /// Only until the first read: files that end before need not be read.
    since_ns: u64,
    /// Whether what is written after the first read is wanted too.
    follow: bool,
    /// Otherwise: the file that was newest then, and how long it was.
    end: Option<(Identity, u64)>,
}

impl Reader {
    pub(super) fn new(files: Files, tail: Option<usize>, since_ns: u64, follow: bool) -> Reader {
        Reader { files, at: None, tail, since_ns, follow, end: None }
    }

    /// The next lines, none at the end of what is there.
    pub(super) fn read(&mut self) -> io::Result<VecDeque<LogEntry>> {
        let mut lines = VecDeque::new();
        if self.at.is_none() && !self.begin()? {
            return Ok(lines);
        }
        while let Some(at) = self.at.as_mut().filter(|_| lines.len() < BATCH) {
            let is_over =
                |(file, length): &(Identity, u64)| at.position() >= *length && file.is(at.identity());
            if self.end.as_ref().is_some_and(is_over) || !at.next(&mut lines)? && !self.advance()? {
                break;
            }
        }
        Ok(lines)
    }

    /// Opens the first file that is wanted; `false` while there is none.
    fn begin(&mut self) -> io::Result<bool> {
        let mut files = self.files.open()?;
        let mut first = 0;
        // Who follows a container that has written nothing gets all it writes.
        if let Some(wanted) = self.tail.take() {
            let mut tail = Tail::new(wanted);
            for (index, file) in files.iter_mut().enumerate().rev() {
                first = index;
                file.seek(&mut tail)?;
                // The piece that the oldest line begins with may be in the file before.
                if tail.is_complete {
                    break;
                }
            }
        }
        if let Some(newest) = files.last().filter(|_| !self.follow) {
            // A container that writes faster than somebody reads is not read for ever.
            self.end = Some((newest.identity().try_clone()?, newest.length()?));
        }
        let newest = files.len().saturating_sub(1);
        let old = files.iter().take(newest).take_while(|file| file.ended_before(self.since_ns)).count();
        files.drain(..first.max(old));
        self.at = files.into_iter().next();
        Ok(self.at.is_some())
    }

    /// At the end of our file: goes to the next one, if ours is not the newest.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(ours) = &self.at else {
            return Ok(false);
        };
        let is_last = |file: &Cursor| self.end.as_ref().is_some_and(|(end, _)| end.is(file.identity()));
        if is_last(ours) || self.files.is_newest(ours)? {
            return Ok(false);
        }
        // Written between our last read and the rotation.
        if ours.has_more()? {
            return Ok(true);
        }
        let mut files = self.files.open()?;
        if let Some(index) = files.iter().position(|file| file.identity().is(ours.identity())) {
            files.drain(..=index);
        }
        if self.end.is_some() && !files.iter().any(is_last) {
            // Rotated away with all that was wanted.
            return Ok(false);
        }
        match files.into_iter().next() {
            Some(next) => {
                self.at = Some(next);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests;
