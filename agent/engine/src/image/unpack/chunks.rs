//! Bytes from one thread to the next, in pieces and without copying: a bounded channel that reads as a stream.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender};

/// The reading end. It ends when the sender is gone; whether that was the whole is for others to know.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    pieces: Receiver<T>,
    current: Option<T>,
    used: usize,
    /// Where pieces go once they are read, to be filled again.
    emptied: Option<SyncSender<T>>,
}

impl<T: AsRef<[u8]>> Chunks<T> {
    pub(super) fn new(pieces: Receiver<T>) -> Self {
        Self { pieces, current: None, used: 0, emptied: None }
    }

    /// Hands pieces back through `emptied` as far as there is room.
    pub(super) fn with_return(pieces: Receiver<T>, emptied: SyncSender<T>) -> Self {
        Self { emptied: Some(emptied), ..Self::new(pieces) }
    }
}

impl<T: AsRef<[u8]>> BufRead for Chunks<T> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.as_ref().is_none_or(|piece| self.used >= piece.as_ref().len()) {
            self.used = 0;
            if let (Some(piece), Some(emptied)) = (self.current.take(), &self.emptied) {
                // No room: the buffer is freed instead.
                let _ = emptied.try_send(piece);
            }
            self.current = self.pieces.recv().ok();
            if self.current.is_none() {
                return Ok(&[]);
            }
        }
        let piece = self.current.as_ref().map(AsRef::as_ref).unwrap_or_default();
        Ok(piece.get(self.used..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.used += amount;
    }
}

impl<T: AsRef<[u8]>> Read for Chunks<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let amount = available.read(buffer)?;
        self.consume(amount);
        Ok(amount)
    }
}
