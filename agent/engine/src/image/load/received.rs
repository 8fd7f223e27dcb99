//! An archive that comes from a client, as a stream to read; and that stream without its compression.

use std::io::{self, BufRead, BufReader, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use tokio::sync::mpsc;

/// Bytes read from a decompressor at a time.
const PIECE: usize = 256 << 10;

/// The pieces of an archive as one stream. `None` among them says that it broke off.
#[derive(Debug)]
pub(in crate::image) struct Received {
    pieces: mpsc::Receiver<Option<Bytes>>,
    current: Bytes,
    is_over: bool,
}

impl Received {
    pub(in crate::image) fn new(pieces: mpsc::Receiver<Option<Bytes>>) -> Self {
        Self { pieces, current: Bytes::new(), is_over: false }
    }
}

impl BufRead for Received {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.is_over {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.current = piece,
                Some(None) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it broke off on its way"));
                }
                None => self.is_over = true,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        self.current.advance(amount.min(self.current.len()));
    }
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let amount = available.read(buffer)?;
        self.consume(amount);
        Ok(amount)
    }
}

/// The stream without its compression, which its first bytes tell.
///
/// # Errors
/// When it is compressed in a way that is not known here.
pub(in crate::image) fn plain(mut source: Received) -> Result<Box<dyn BufRead>, String> {
    let start = source.fill_buf().map_err(|fault| fault.to_string())?;
    let unknown = |how: &str| Err(format!("it is compressed with {how}: decompress it first"));
    match start {
        [0x1f, 0x8b, ..] => Ok(Box::new(BufReader::with_capacity(PIECE, MultiGzDecoder::new(source)))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => unknown("zstd"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => unknown("xz"),
        [b'B', b'Z', b'h', ..] => unknown("bzip2"),
        _ => Ok(Box::new(source)),
    }
}
