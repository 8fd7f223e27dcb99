//! Decompresses a layer and computes its diff id in the same pass.
//!
//! What each format's library may use of memory is bounded here: zstd by its window, xz by its dictionary; gzip and
//! bzip2 need less than 4 MiB whatever the data says. How far data may grow is bounded for all of them alike.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::Limits;
use crate::content::{Algorithm, Digest, Hasher};
use crate::image::manifest::Compression;

/// Bytes handed on at a time.
const PIECE: usize = 256 << 10;
/// The largest zstd window, as a power of two: 8 MiB is what every decoder has to take (RFC 8878, section 3.1.1.1.2),
/// 32 MiB what `zstd --ultra` asks for at its highest levels without being told `--long`.
const ZSTD_WINDOW_LOG: u32 = 25;
/// What an xz dictionary may take, in KiB: `xz -9` needs 64 MiB.
const XZ_MEMORY_KIB: u32 = 68 << 10;

/// Why decompressing ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The next stage stopped, and knows why.
    Receiver,
    /// The data is wrong.
    Data(String),
}

/// Where decompressed bytes go, and where used buffers come back from.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) pieces: SyncSender<Vec<u8>>,
    pub(super) used: Receiver<Vec<u8>>,
}

/// Decompresses everything from `input` into `output`; answers the digest of what it was.
pub(super) fn run(
    input: impl BufRead,
    compression: Compression,
    algorithm: Algorithm,
    limits: &Limits,
    output: &Output,
) -> Result<Digest, Stop> {
    let taken = Cell::new(0);
    let input = Counted { input, taken: &taken };
    let mut pass = Pass { taken: &taken, algorithm, limits, output };
    match compression {
        Compression::None => sniffed(input, &mut pass),
        _ => pass.decode(input, compression),
    }
}

/// What is said to be plain may be compressed all the same: Docker goes by the first bytes, and its archives rely on it.
/// Where a plain archive begins with such bytes by chance the diff id tells.
fn sniffed<R: BufRead>(mut input: Counted<'_, R>, pass: &mut Pass<'_>) -> Result<Digest, Stop> {
    let unusable = |fault: io::Error| Stop::Data(fault.to_string());
    let mut head = Vec::new();
    input.by_ref().take(MAGIC as u64).read_to_end(&mut head).map_err(unusable)?;
    let found = Compression::of(&head);
    pass.decode(io::Cursor::new(head).chain(input), found)
}

/// The longest of the marks of [`Compression::of`].
const MAGIC: usize = 10;

struct Pass<'a> {
    /// Compressed bytes read so far.
    taken: &'a Cell<u64>,
    algorithm: Algorithm,
    limits: &'a Limits,
    output: &'a Output,
}

impl Pass<'_> {
    fn decode(&mut self, input: impl BufRead, compression: Compression) -> Result<Digest, Stop> {
        let unusable = |fault: io::Error| Stop::Data(fault.to_string());
        match compression {
            Compression::None => self.run(input, false),
            Compression::Gzip => self.run(MultiGzDecoder::new(input), true),
            Compression::Bzip2 => self.run(MultiBzDecoder::new(input), true),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(unusable)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(unusable)?;
                self.run(decoder, true)
            }
            Compression::Xz => self.run(XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB), true),
        }
    }

    fn run(&mut self, mut source: impl Read, grows: bool) -> Result<Digest, Stop> {
        let mut hasher = Hasher::new(self.algorithm);
        let mut inflated = 0;
        loop {
            let mut buffer = self.output.used.try_recv().unwrap_or_default();
            buffer.resize(PIECE, 0);
            let length = fill(&mut source, &mut buffer).map_err(|fault| Stop::Data(fault.to_string()))?;
            if length == 0 {
                return Ok(hasher.finish());
            }
            buffer.truncate(length);
            inflated += length as u64;
            if grows {
                self.check(inflated)?;
            }
            hasher.update(&buffer);
            self.output.pieces.send(buffer).map_err(|_| Stop::Receiver)?;
        }
    }

    fn check(&self, inflated: u64) -> Result<(), Stop> {
        let Limits { ratio, ratio_free_bytes, .. } = *self.limits;
        if inflated > ratio_free_bytes && inflated / self.taken.get().max(1) > ratio {
            return Err(Stop::Data(format!("it inflates to more than {ratio} times its size")));
        }
        Ok(())
    }
}

/// Counts what is taken out of a reader.
struct Counted<'a, R> {
    input: R,
    taken: &'a Cell<u64>,
}

impl<R: BufRead> BufRead for Counted<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.taken.set(self.taken.get() + amount as u64);
        self.input.consume(amount);
    }
}

impl<R: BufRead> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let amount = self.input.read(buffer)?;
        self.taken.set(self.taken.get() + amount as u64);
        Ok(amount)
    }
}

/// Reads until the buffer is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(filled)
}
