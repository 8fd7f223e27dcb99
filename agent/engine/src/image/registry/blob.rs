//! Fetches one blob into a channel, picking up after a broken connection where it broke, from wherever it can be had.
//!
//! Size is checked here, byte for byte; the digest by whoever takes the bytes. A registry that trickles is given up: the
//! time allowed grows with the size, from a rate that no useful line falls below.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio::sync::mpsc::Sender;

use super::origin::Target;
use super::parts::{self, Parts};
use super::retry::{BLOB_TRIES, Failure, Tries};
use super::transport::{Request, text};
use super::{Access, Registry, Wanted};
use crate::image::PullError;

/// Bytes a second below which a transfer would not end in any useful time.
pub(super) const SLOWEST: u64 = 16 << 10;

struct Download<'a> {
    registry: &'a Registry,
    access: Access<'a>,
    wanted: Wanted<'a>,
    sink: &'a Sender<Bytes>,
    progress: &'a (dyn Fn(u64) + Send + Sync),
    /// Bytes that went into the sink.
    done: u64,
}

pub(super) async fn fetch(
    registry: &Registry,
    access: Access<'_>,
    wanted: Wanted<'_>,
    sink: &Sender<Bytes>,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), PullError> {
    let mut targets = registry.readable(&access);
    let mut download = Download { registry, access, wanted, sink, progress, done: 0 };
    loop {
        let target = targets.remove(0);
        let allowed = registry.options().stall_timeout * 2 + Duration::from_secs(wanted.size / SLOWEST);
        let outcome = match tokio::time::timeout(allowed, download.run(&target)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let (registry, what) = (target.origin.name.clone(), download.what());
                Err(PullError::TooSlow { registry, what, waited: allowed })
            }
        };
        match outcome {
            // Whoever takes the bytes has stopped.
            Err(PullError::Interrupted) => return Err(PullError::Interrupted),
            Err(error) if !targets.is_empty() => registry.rest(&target, &error),
            outcome => return outcome,
        }
    }
}

impl Download<'_> {
    fn what(&self) -> String {
        format!("{} {}", self.wanted.what, self.wanted.digest)
    }

    async fn run(&mut self, target: &Target) -> Result<(), PullError> {
        let mut tries = Tries::new(BLOB_TRIES);
        loop {
            let before = self.done;
            match self.attempt(target).await {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    let (options, progress) = (self.registry.options(), self.done > before);
                    tries.after(failure, progress, options, &self.access).await?;
                }
            }
        }
    }

    async fn attempt(&mut self, target: &Target) -> Result<(), Failure> {
        let what = self.what();
        let path = format!("/v2/{}/blobs/{}", target.repository, self.wanted.digest);
        let (from, size, segment) = (self.done, self.wanted.size, self.registry.options().segment);
        let parts = Parts { registry: self.registry, target, path: &path, what: &what, from, size };
        let large = self.missing() >= segment.saturating_mul(parts::LARGE);
        let last = large.then(|| parts.last(from));
        let range = Some((from, last)).filter(|_| large || from > 0);
        let request = Request { range, ..Request::get(&target.origin, &path, &what) };
        let response = self.registry.send(target, &request).await;
        let mut response = response.map_err(|failure| failure.explained(&target.origin, &what))?;
        if last.is_some_and(|last| parts.is(&response, from, last)) {
            return parts.fetch(response, self.progress, self.sink, &mut self.done).await;
        }
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
        Err(Failure::Passing(PullError::Unreachable { registry: target.origin.name.clone(), reason }))
    }

    fn missing(&self) -> u64 {
        self.wanted.size - self.done
    }

    /// How many bytes of the answer we have already: none when the range was understood, all of them when not.
    fn skip(&self, response: &Response, request: &Request<'_>) -> Result<u64, Failure> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(self.done);
        }
        let range = text(response.headers(), &CONTENT_RANGE).unwrap_or_default();
        let (from, last, size) = (self.done, self.wanted.size.saturating_sub(1), self.wanted.size);
        if from > 0
            && (range == format!("bytes {from}-{last}/{size}") || range == format!("bytes {from}-{last}/*"))
        {
            Ok(0)
        } else {
            Err(Failure::Final(request.unacceptable("it sent another range than was asked for")))
        }
    }
}
