//! Takes in one layer, in three stages on three threads joined by bounded channels:
//!
//! ```text
//! network ──▶ hash and store the blob ──▶ inflate and hash ──▶ parse and write files
//! or store        (this thread)              (inflate.rs)          (unpack.rs)
//! ```
//!
//! Nothing of it is visible until all three are done and both digests are right; then the layer is committed. The first
//! stage reads to the end even if the others have failed: whether the bytes are what was asked for explains every
//! failure behind it. If the network's side is dropped, the stages end one after the other and leave nothing.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use bytes::Bytes;

use crate::content::{ContentError, Digest, Expected, Ingest};
use crate::image::unpack::{Limits, UnpackError, unpack};
use crate::image::{Inner, PullError};
use crate::snapshot::IncomingLayer;

use super::chunks::Chunks;
use super::inflate::{self, Fault, Output};
use super::layer::Layer;

/// Pieces that may wait between two stages.
const WAITING: usize = 8;
/// Bytes read from the store at a time.
const PIECE: usize = 256 << 10;

/// Where the blob comes from.
#[derive(Debug)]
pub(super) enum Source {
    Network(tokio::sync::mpsc::Receiver<Bytes>),
    /// It is in the content store already.
    Stored,
}

/// Takes in a layer; blocking.
pub(super) fn run(inner: &Inner, layer: &Layer, source: Source) -> Result<(), PullError> {
    let is_new = matches!(source, Source::Network(_));
    let outcome = stages(inner, layer, source);
    if outcome.is_err() && is_new {
        // A blob that cannot be unpacked is of no use to anybody.
        inner.content.delete(&layer.blob.digest)?;
    }
    outcome
}

fn stages(inner: &Inner, layer: &Layer, source: Source) -> Result<(), PullError> {
    let incoming = inner.snapshots.begin_layer()?;
    let (raw, raw_pieces) = sync_channel::<Bytes>(WAITING);
    let (plain, plain_pieces) = sync_channel::<Vec<u8>>(WAITING);
    let (used, used_pieces) = sync_channel::<Vec<u8>>(WAITING + 2);
    let (stored, inflated, unpacked) = thread::scope(|scope| {
        let output = Output { pieces: plain, used: used_pieces };
        let (compression, algorithm) = (layer.compression, layer.diff_id.algorithm());
        let limits = &inner.limits;
        let inflater = thread::Builder::new().name("layer-inflate".into()).spawn_scoped(scope, move || {
            inflate::run(Chunks::new(raw_pieces), compression, algorithm, limits, &output)
        });
        let target = &incoming;
        let unpacker = thread::Builder::new()
            .name("layer-unpack".into())
            .spawn_scoped(scope, move || write_files(plain_pieces, &used, target, limits));
        let stored = match source {
            Source::Network(pieces) => store(inner, layer, pieces, &raw),
            Source::Stored => replay(inner, layer, &raw),
        };
        drop(raw);
        (stored, join(inflater), join(unpacker))
    });
    stored?;
    let blob = layer.blob.digest.clone();
    let inflated = match inflated? {
        Err(Fault::Data(reason)) => return Err(PullError::Inflate { layer: blob, reason }),
        Err(Fault::Stopped) => None,
        Ok(digest) => Some(digest),
    };
    unpacked?.map_err(|fault| PullError::Unpack { layer: blob.clone(), fault })?;
    // The unpacker reads to the end, so where it succeeded the inflater was not stopped.
    let actual = inflated.ok_or(PullError::Interrupted)?;
    if actual != layer.diff_id {
        return Err(PullError::WrongLayer { layer: blob, expected: layer.diff_id.clone(), actual });
    }
    Ok(incoming.commit(&layer.diff_id)?)
}

/// First stage, from the network: hash, write, hand on.
fn store(
    inner: &Inner,
    layer: &Layer,
    mut pieces: tokio::sync::mpsc::Receiver<Bytes>,
    next: &SyncSender<Bytes>,
) -> Result<Digest, PullError> {
    let arriving = |fault: ContentError| PullError::arriving("layer", &layer.blob.digest, fault);
    let expected = Expected { digest: Some(layer.blob.digest.clone()), size: Some(layer.blob.size) };
    let mut ingest: Box<dyn Ingest> = inner.content.begin(expected)?;
    let mut wanted = true;
    while let Some(piece) = pieces.blocking_recv() {
        ingest.write(&piece).map_err(arriving)?;
        wanted = wanted && next.send(piece).is_ok();
    }
    ingest.finish().map_err(arriving)
}

/// First stage, from the store: the diff id will tell whether the disk kept it well.
fn replay(inner: &Inner, layer: &Layer, next: &SyncSender<Bytes>) -> Result<Digest, PullError> {
    let digest = layer.blob.digest.clone();
    let mut blob = inner.content.open_blob(&digest)?;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let length = blob.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let length = length
            .map_err(|fault| ContentError::Blob { digest: digest.clone(), reason: fault.to_string() })?;
        if length == 0 || next.send(piece.into()).is_err() {
            return Ok(digest);
        }
    }
}

/// Third stage: files, then whatever the archive has behind its end, which the diff id covers too.
fn write_files(
    pieces: Receiver<Vec<u8>>,
    used: &SyncSender<Vec<u8>>,
    target: &IncomingLayer,
    limits: &Limits,
) -> Result<(), UnpackError> {
    let mut source = Chunks::with_return(pieces, used.clone());
    unpack(&mut source, target.directory(), limits)?;
    io::copy(&mut source, &mut io::sink())?;
    Ok(())
}

fn join<T>(handle: io::Result<ScopedJoinHandle<'_, T>>) -> Result<T, PullError> {
    // A thread that could not be started dropped its channel ends, so the other stages have ended as well.
    handle.map_err(|_| PullError::Interrupted)?.join().map_err(|_| PullError::Interrupted)
}
