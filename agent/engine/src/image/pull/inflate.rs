//! The second stage of taking in a layer: inflates it and computes its diff id in the same pass.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender};

use flate2::bufread::MultiGzDecoder;

use crate::content::{Algorithm, Digest, Hasher};
use crate::image::manifest::Compression;
use crate::image::unpack::Limits;

use super::chunks::Chunks;

/// Bytes handed on at a time.
const PIECE: usize = 256 << 10;

/// Why inflating ended early.
#[derive(Debug)]
pub(super) enum Fault {
    /// The next stage stopped, and knows why.
    Stopped,
    /// The data is wrong.
    Data(String),
}

/// Where inflated bytes go, and where used buffers come back from.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) pieces: SyncSender<Vec<u8>>,
    pub(super) used: Receiver<Vec<u8>>,
}

/// Inflates everything from `input` into `output`; answers the digest of what it was.
pub(super) fn run<T: AsRef<[u8]>>(
    input: Chunks<T>,
    compression: Compression,
    algorithm: Algorithm,
    limits: &Limits,
    output: &Output,
) -> Result<Digest, Fault> {
    match compression {
        Compression::None => pass(input, algorithm, output, |_, _| Ok(())),
        Compression::Gzip => pass(MultiGzDecoder::new(input), algorithm, output, |decoder, inflated| {
            let compressed = decoder.get_ref().total().max(1);
            if inflated > limits.ratio_free_bytes && inflated / compressed > limits.ratio {
                return Err(Fault::Data(format!("it inflates to more than {} times its size", limits.ratio)));
            }
            Ok(())
        }),
    }
}

fn pass<R: Read>(
    mut source: R,
    algorithm: Algorithm,
    output: &Output,
    check: impl Fn(&R, u64) -> Result<(), Fault>,
) -> Result<Digest, Fault> {
    let mut hasher = Hasher::new(algorithm);
    let mut inflated = 0;
    loop {
        let mut buffer = output.used.try_recv().unwrap_or_default();
        buffer.resize(PIECE, 0);
        let length = fill(&mut source, &mut buffer).map_err(|fault| Fault::Data(fault.to_string()))?;
        if length == 0 {
            return Ok(hasher.finish());
        }
        buffer.truncate(length);
        inflated += length as u64;
        check(&source, inflated)?;
        hasher.update(&buffer);
        output.pieces.send(buffer).map_err(|_| Fault::Stopped)?;
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
