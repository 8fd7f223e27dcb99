//! A piece of a file in memory, that grows to where it is needed and no further: forwards for who reads on, backwards
//! for who looks for the last lines. Files are read by position, so that a file that is written meanwhile, or cut
//! back to its last whole record, is read as it is then.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Read at a time.
const CHUNK: usize = 64 * 1024;

/// The bytes of a file from some position on.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Where in the file the first of them stands.
    position: u64,
    bytes: Vec<u8>,
    /// So many of them are done with.
    done: usize,
}

impl Window {
    pub(super) fn at(position: u64) -> Window {
        Window { position, ..Window::default() }
    }

    /// Where in the file the first byte stands that is not done with.
    pub(super) fn position(&self) -> u64 {
        self.position + self.done as u64
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.done..]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.done = (self.done + count).min(self.bytes.len());
    }

    /// Reads on; `false` at the end of the file, as it is now.
    pub(super) fn grow(&mut self, file: &File) -> io::Result<bool> {
        if self.done > 0 {
            self.bytes.drain(..self.done);
            self.position += self.done as u64;
            self.done = 0;
        }
        let old = self.bytes.len();
        self.bytes.resize(old + CHUNK, 0);
        let count = read_at(file, &mut self.bytes[old..], self.position + old as u64);
        self.bytes.truncate(old + *count.as_ref().unwrap_or(&0));
        Ok(count? > 0)
    }

    /// Forgets what was read and is not done with: it may be something else by the next time.
    pub(super) fn forget(&mut self) {
        *self = Window::at(self.position());
    }
}

/// The bytes of a file up to some position.
#[derive(Debug)]
pub(super) struct Backwards<'a> {
    file: &'a File,
    bytes: Vec<u8>,
    start: u64,
    /// Never read before this.
    first: u64,
}

impl<'a> Backwards<'a> {
    pub(super) fn new(file: &'a File, first: u64, end: u64) -> Backwards<'a> {
        Backwards { file, bytes: Vec::new(), start: end.max(first), first }
    }

    /// The bytes in front of `end`: at least `wanted`, if there are so many; mostly more.
    pub(super) fn before(&mut self, end: u64, wanted: usize) -> io::Result<&[u8]> {
        if end > self.start + self.bytes.len() as u64 {
            (self.bytes, self.start) = (Vec::new(), end);
        }
        let known = usize::try_from(end.saturating_sub(self.start)).unwrap_or(0);
        self.bytes.truncate(known);
        if known < wanted && self.start > self.first {
            let missing = (wanted - known).max(CHUNK) as u64;
            let start = self.start.saturating_sub(missing).max(self.first);
            let mut bytes = vec![0; usize::try_from(self.start - start).unwrap_or(0)];
            let count = read_at(self.file, &mut bytes, start)?;
            if count < bytes.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.append(&mut self.bytes);
            (self.bytes, self.start) = (bytes, start);
        }
        Ok(&self.bytes)
    }
}

/// Reads all that fits, or up to the end of the file.
pub(super) fn read_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
