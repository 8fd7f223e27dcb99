//! Archives of this machine's files, for copying into and out of containers. Names are bytes, memory is bounded.
//!
//! `archive/pack.rs` reads files of this machine, which are its user's. `archive/unpack.rs` writes what came out of a
//! container, which may be hostile: it never follows a link below the directory it was given.

use std::io::{self, Read, Write};

use tokio::sync::mpsc;

mod pack;
mod unpack;

pub use pack::pack;
pub use unpack::{Keep, Unpacker};

/// Bytes in one piece of an archive on its way.
pub const PIECE: usize = 128 * 1024;

/// What was copied.
#[derive(Debug, Clone, Default)]
pub struct Copied {
    /// Files, directories, links and the like.
    pub entries: u64,
    /// Bytes in regular files.
    pub bytes: u64,
    /// What was left out or differs, a sentence each.
    pub notes: Vec<String>,
}

impl Copied {
    fn note(&mut self, text: String) {
        if self.notes.len() < 20 {
            self.notes.push(text);
        }
    }
}

/// A name for a message: without control characters that a terminal would obey.
pub fn printable(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().flat_map(char::escape_debug).collect()
}

/// Where a blocking writer's bytes go to an asynchronous reader.
#[derive(Debug)]
pub struct PieceWriter(pub mpsc::Sender<Vec<u8>>);

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..bytes.len().min(PIECE)).unwrap_or_default();
        self.0.blocking_send(piece.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a blocking reader finds what an asynchronous writer sends; `None` is the whole archive's end, and a channel
/// that closes without it one that broke off.
#[derive(Debug)]
pub struct PieceReader {
    source: mpsc::Receiver<Option<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
    ended: bool,
}

impl PieceReader {
    /// Reads from this channel.
    pub fn new(source: mpsc::Receiver<Option<Vec<u8>>>) -> Self {
        Self { source, piece: io::Cursor::new(Vec::new()), ended: false }
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() || self.ended {
                return Ok(count);
            }
            match self.source.blocking_recv() {
                Some(Some(piece)) => self.piece = io::Cursor::new(piece),
                Some(None) => self.ended = true,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}
