//! A part of a blob as the body of a request: read by a thread that may block, a few pieces ahead of the network.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream;
use reqwest::Body;
use tokio::sync::mpsc;

use crate::content::{ContentStore, Digest};

/// Bytes read at a time.
const PIECE: u64 = 128 << 10;
/// Pieces that may wait for the network.
const WAITING: usize = 8;

/// Which part.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) content: Arc<dyn ContentStore>,
    pub(super) digest: Digest,
    pub(super) from: u64,
    pub(super) length: u64,
}

/// The part as a body; `sent` counts what the network took.
pub(super) fn body(part: Outgoing, sent: Arc<AtomicU64>) -> Body {
    let (sink, pieces) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    tokio::task::spawn_blocking(move || {
        if let Err(fault) = read(&part, &sink) {
            // The request is gone, or fails by this.
            let _ = sink.blocking_send(Err(fault));
        }
    });
    let stream = stream::unfold((pieces, sent), |(mut pieces, sent)| async move {
        let piece = pieces.recv().await?;
        if let Ok(piece) = &piece {
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Some((piece, (pieces, sent)))
    });
    Body::wrap_stream(stream)
}

fn read(part: &Outgoing, sink: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let blob = part.content.open_blob_at(&part.digest, part.from).map_err(io::Error::other)?;
    let mut blob = blob.take(part.length);
    let mut left = part.length;
    while left > 0 {
        let mut piece = Vec::with_capacity(usize::try_from(PIECE.min(left)).unwrap_or_default());
        let length = blob.by_ref().take(PIECE).read_to_end(&mut piece)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= length as u64;
        if sink.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
