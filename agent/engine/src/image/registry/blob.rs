//! Fetches one blob into a channel, picking up after a broken connection where it broke.
//!
//! Size is checked here, byte for byte; the digest by whoever takes the bytes. A registry that trickles is given up: the
//! time allowed grows with the size, from a rate that no useful line falls below.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio::sync::mpsc::Sender;

use super::origin::Origin;
use super::retry::{self, Failure, TRIES};
use super::transport::Request;
use super::{Registry, Wanted};
use crate::image::{PullError, Reference};

/// Bytes a second below which a download would not end in any useful time.
const SLOWEST: u64 = 16 << 10;
/// Tries in all, even if each brings a little more.
const MAX_TRIES: u32 = 20;

struct Download<'a> {
    registry: &'a Registry,
    image: &'a Reference,
    wanted: Wanted<'a>,
    origin: Origin,
    sink: &'a Sender<Bytes>,
    progress: &'a (dyn Fn(u64) + Send + Sync),
    /// Bytes that went into the sink.
    done: u64,
}

pub(super) async fn fetch(
    registry: &Registry,
    image: &Reference,
    wanted: Wanted<'_>,
    sink: &Sender<Bytes>,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), PullError> {
    let origin = Origin::of(image, &registry.options);
    let name = origin.name.clone();
    let mut download = Download { registry, image, wanted, origin, sink, progress, done: 0 };
    let allowed = registry.options.stall_timeout * 2 + Duration::from_secs(wanted.size / SLOWEST);
    match tokio::time::timeout(allowed, download.run()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(PullError::TooSlow { registry: name, what: download.what(), waited: allowed }),
    }
}

impl Download<'_> {
    fn what(&self) -> String {
        format!("{} {}", self.wanted.what, self.wanted.digest)
    }

    async fn run(&mut self) -> Result<(), PullError> {
        let (mut failures, mut tries) = (0, 0);
        loop {
            let before = self.done;
            let error = match self.attempt().await {
                Ok(()) => return Ok(()),
                Err(Failure::Passing(error)) => error,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Status(_) | Failure::Challenged(_)) => return Err(PullError::Interrupted),
            };
            tries += 1;
            failures = if self.done > before { 1 } else { failures + 1 };
            if failures >= TRIES || tries >= MAX_TRIES {
                return Err(error);
            }
            tracing::debug!(%error, failures, done = self.done, "trying again");
            retry::pause(&self.registry.options, failures).await;
        }
    }

    async fn attempt(&mut self) -> Result<(), Failure> {
        let what = self.what();
        let path = format!("/v2/{}/blobs/{}", self.image.path(), self.wanted.digest);
        let origin = self.origin.clone();
        let from = Some(self.done).filter(|done| *done > 0);
        let request = Request { origin: &origin, path: &path, accept: None, from, what: &what };
        let response = self.registry.send(self.image, &request).await;
        let mut response = response.map_err(|failure| failure.explained(&origin, &what))?;
        let mut skip = self.skip(&response, &request)?;
        if let Some(length) =
            response.content_length().filter(|length| length - skip.min(*length) != self.missing())
        {
            let reason = format!("it is {length} bytes long, its manifest says {}", self.wanted.size);
            return Err(Failure::Final(request.unacceptable(&reason)));
        }
        while let Some(piece) =
            response.chunk().await.map_err(|fault| self.registry.transport.broken(&fault, &request))?
        {
            let passed = piece.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
            skip -= passed as u64;
            let piece = piece.slice(passed..);
            if piece.len() as u64 > self.missing() {
                let reason = format!("it is longer than the {} bytes of its manifest", self.wanted.size);
                return Err(Failure::Final(request.unacceptable(&reason)));
            }
            self.done += piece.len() as u64;
            // Whoever takes the bytes has stopped, and will say why.
            self.sink.send(piece).await.map_err(|_| Failure::Final(PullError::Interrupted))?;
            (self.progress)(self.done);
        }
        if self.missing() == 0 {
            return Ok(());
        }
        let reason = format!("the connection ended after {} of {} bytes", self.done, self.wanted.size);
        Err(Failure::Passing(PullError::Unreachable { registry: origin.name.clone(), reason }))
    }

    fn missing(&self) -> u64 {
        self.wanted.size - self.done
    }

    /// How many bytes of the answer we have already: none when the range was understood, all of them when not.
    fn skip(&self, response: &Response, request: &Request<'_>) -> Result<u64, Failure> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(self.done);
        }
        let range =
            response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.done > 0 && range.starts_with(&format!("bytes {}-", self.done)) {
            Ok(0)
        } else {
            Err(Failure::Final(request.unacceptable("it sent another range than was asked for")))
        }
    }
}
