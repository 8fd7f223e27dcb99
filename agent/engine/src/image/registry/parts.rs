//! A large blob in parts that are fetched side by side and handed on in order. A line that gives a single connection
//! only so much gives several of them more.
//!
//! The first part was asked for by whoever calls: only a registry that understood that range comes here. Parts that
//! wait for their turn are in memory; how many there are, of all blobs together, is limited.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio::sync::SemaphorePermit;
use tokio::sync::mpsc::Sender;

use super::Registry;
use super::origin::Target;
use super::retry::Failure;
use super::transport::{Request, text};
use crate::image::PullError;

/// Parts of one blob that are fetched at the same time.
const SIDE_BY_SIDE: usize = 3;
/// Parts of all blobs that may be in memory.
pub(super) const PLACES: usize = 6;
/// So many parts must be missing for it to be worth while.
pub(super) const LARGE: u64 = 4;

/// What is fetched in parts.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) registry: &'a Registry,
    pub(super) target: &'a Target,
    pub(super) path: &'a str,
    pub(super) what: &'a str,
    /// The first byte that is missing, and how many there are in all.
    pub(super) from: u64,
    pub(super) size: u64,
}

/// Bytes of a part, and its place in memory.
struct Part<'a> {
    pieces: Vec<Bytes>,
    _place: Option<SemaphorePermit<'a>>,
}

impl<'a> Parts<'a> {
    /// Hands all parts to `sink`, in order, and counts in `done`; `first` is the answer that has the first one.
    /// `arrived` hears how many bytes have come, whether their turn has come or not.
    pub(super) async fn fetch(
        self,
        first: Response,
        arrived: &(dyn Fn(u64) + Send + Sync),
        sink: &Sender<Bytes>,
        done: &mut u64,
    ) -> Result<(), Failure> {
        let (count, mut first) = (&AtomicU64::new(0), Some(first));
        let segment = self.registry.options().segment.max(1);
        let starts = std::iter::successors(Some(self.from), |from| from.checked_add(segment));
        let ends = starts.take_while(|from| *from < self.size).map(|from| (from, self.last(from)));
        let started = ends.map(|(from, last)| self.part(first.take(), from, last, count, arrived));
        // By value, so that the stream borrows nothing of the iterator.
        let started: Vec<_> = started.collect();
        let mut parts = stream::iter(started).buffered(SIDE_BY_SIDE);
        while let Some(part) = parts.next().await {
            let part = part?;
            for piece in part.pieces {
                *done += piece.len() as u64;
                // Whoever takes the bytes has stopped, and will say why.
                sink.send(piece).await.map_err(|_| Failure::Final(PullError::Interrupted))?;
            }
        }
        Ok(())
    }

    /// The last byte of the part that begins there.
    pub(super) fn last(&self, from: u64) -> u64 {
        from.saturating_add(self.registry.options().segment.max(1)).min(self.size).saturating_sub(1)
    }

    /// Whether an answer has exactly this part.
    pub(super) fn is(&self, response: &Response, from: u64, last: u64) -> bool {
        let range = text(response.headers(), &CONTENT_RANGE).unwrap_or_default();
        let named = [format!("bytes {from}-{last}/{}", self.size), format!("bytes {from}-{last}/*")];
        response.status() == StatusCode::PARTIAL_CONTENT && named.contains(&range)
    }

    async fn part(
        self,
        answered: Option<Response>,
        from: u64,
        last: u64,
        count: &AtomicU64,
        arrived: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Part<'a>, Failure> {
        // Never closed, so this only ever waits.
        let place = self.registry.parts.acquire().await.ok();
        let origin = &self.target.origin;
        let request =
            Request { range: Some((from, Some(last))), ..Request::get(origin, self.path, self.what) };
        let mut response = match answered {
            Some(response) => response,
            None => {
                let response = self.registry.send(self.target, &request).await;
                response.map_err(|failure| failure.explained(origin, self.what))?
            }
        };
        let refuse = |reason| Failure::Final(request.unacceptable(reason));
        if !self.is(&response, from, last) {
            return Err(refuse("it sent another range than was asked for"));
        }
        let (mut pieces, mut missing) = (Vec::new(), last - from + 1);
        let transport = &self.registry.transport;
        while let Some(piece) = response.chunk().await.map_err(|fault| transport.broken(&fault, &request))? {
            let length = piece.len() as u64;
            missing = missing.checked_sub(length).ok_or_else(|| refuse("it sent more than was asked for"))?;
            arrived(self.from + count.fetch_add(length, Ordering::Relaxed) + length);
            pieces.push(piece);
        }
        if missing > 0 {
            let reason = format!("the connection ended {missing} bytes before the end of a part");
            return Err(Failure::Passing(PullError::Unreachable { registry: origin.name.clone(), reason }));
        }
        Ok(Part { pieces, _place: place })
    }
}
