//! Takes in one layer, in three stages joined by pipes and bounded channels:
//!
//! ```text
//! network ──▶ hash and store the blob ──▶ inflate and hash ──▶ parse and write files
//! or store        (this thread)         └─ a process that is locked up (unpack/child.rs) ─┘
//! ```
//!
//! Nothing of it is visible until all three are done and both digests are right; then the layer is committed. The first
//! stage reads to the end even if the others have failed: whether the bytes are what was asked for explains every
//! failure behind it. If the network's side is dropped, the stages end one after the other and leave nothing.

use std::fs::File;
use std::io::{self, Write};

use bytes::Bytes;

use crate::content::{ContentError, Digest, Expected, Ingest};
use crate::image::unpack::{Job, Unpacker, WorkFault};
use crate::image::{Inner, PullError};

use super::layer::Layer;

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
    let blob = &layer.blob.digest;
    let failed = |reason: String| PullError::Helper { layer: blob.clone(), reason };
    let incoming = inner.snapshots.begin_layer()?;
    let job = Job {
        compression: layer.compression,
        algorithm: layer.diff_id.algorithm().name().to_owned(),
        limits: inner.limits.clone(),
    };
    let (worker, feed) =
        unpacker(inner).start(&job, incoming.directory()).map_err(|fault| failed(fault.to_string()))?;
    match source {
        Source::Network(pieces) => store(inner, layer, pieces, feed),
        Source::Stored => replay(inner, blob, feed),
    }?;
    let done = worker.finish(incoming.directory()).map_err(|fault| match fault {
        WorkFault::Inflate(reason) => PullError::Inflate { layer: blob.clone(), reason },
        WorkFault::Unpack(fault) => PullError::Unpack { layer: blob.clone(), fault },
        WorkFault::Helper(reason) => failed(reason),
    })?;
    if done.diff_id != layer.diff_id {
        return Err(PullError::WrongLayer {
            layer: blob.clone(),
            expected: layer.diff_id.clone(),
            actual: done.diff_id,
        });
    }
    tracing::debug!(layer = %blob, entries = done.unpacked.entries, bytes = done.unpacked.bytes, "unpacked");
    Ok(incoming.commit(&layer.diff_id)?)
}

fn unpacker(inner: &Inner) -> Unpacker {
    let given = inner.unpacker.get().cloned();
    #[cfg(test)]
    let given = given.or(Some(Unpacker::Thread));
    // Without a program it fails, and says that this one cannot be started.
    given.unwrap_or_else(|| Unpacker::Program("agent".into()))
}

/// First stage, from the network: hash, write, hand on.
fn store(
    inner: &Inner,
    layer: &Layer,
    mut pieces: tokio::sync::mpsc::Receiver<Bytes>,
    next: File,
) -> Result<(), PullError> {
    let arriving = |fault: ContentError| PullError::arriving("layer", &layer.blob.digest, fault);
    let expected = Expected { digest: Some(layer.blob.digest.clone()), size: Some(layer.blob.size) };
    let mut ingest: Box<dyn Ingest> = inner.content.begin(expected)?;
    let mut next = Some(next);
    while let Some(piece) = pieces.blocking_recv() {
        ingest.write(&piece).map_err(arriving)?;
        // The other side stopped reading, and says why.
        next = next.filter(|mut next| next.write_all(&piece).is_ok());
    }
    ingest.finish().map_err(arriving).map(drop)
}

/// First stage, from the store: the diff id will tell whether the disk kept it well.
fn replay(inner: &Inner, blob: &Digest, mut next: File) -> Result<(), PullError> {
    let mut stored = inner.content.open_blob(blob)?;
    match io::copy(&mut stored, &mut next) {
        Err(fault) if fault.kind() != io::ErrorKind::BrokenPipe => {
            Err(ContentError::Blob { digest: blob.clone(), reason: fault.to_string() }.into())
        }
        _ => Ok(()),
    }
}
