//! Brings one blob to a registry: asks whether it is there, takes it over from another repository of the same
//! registry, or sends it, small ones at once and large ones in pieces (OCI distribution 1.1, "Pushing blobs").
//!
//! Where a connection breaks the registry is asked how far it got, and sending goes on from there; a registry that
//! forgot the upload gets a new one. The address that it names for an upload must be its own: what is sent, and the
//! `Authorization` with it, goes nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE,
};
use reqwest::{Method, Response, StatusCode, Url};

use super::blob::SLOWEST;
use super::origin::Target;
use super::outgoing::{self, Outgoing};
use super::refusal;
use super::retry::{BLOB_TRIES, Failure, Tries};
use super::transport::{Request, challenges, text};
use super::{Access, Registry};
use crate::content::{ContentStore, Digest};
use crate::image::PullError;

/// Blobs up to this many bytes are sent in one request.
const AT_ONCE: u64 = 1 << 20;
/// Bytes of a piece: what a broken connection may cost where a registry keeps nothing of a broken request.
const PIECE: u64 = 32 << 20;
/// The time for a registry to look over all of a blob, beside that for its bytes.
const SETTLING: Duration = Duration::from_secs(300);

/// A blob to bring.
#[derive(Debug, Clone)]
pub(in crate::image) struct Sent<'a> {
    /// "layer", "configuration" or the like.
    pub(in crate::image) what: &'static str,
    pub(in crate::image) digest: &'a Digest,
    pub(in crate::image) size: u64,
    /// Repositories of the same registry that have it, as far as is known here.
    pub(in crate::image) elsewhere: &'a [String],
}

/// How a blob came to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) enum Brought {
    /// It was.
    Present,
    /// It was in this repository of the registry.
    Mounted(String),
    /// It was sent.
    Uploaded,
}

struct Upload<'a> {
    registry: &'a Registry,
    content: &'a Arc<dyn ContentStore>,
    target: Target,
    blob: Sent<'a>,
    what: String,
    progress: &'a (dyn Fn(u64) + Send + Sync),
    /// Where the upload goes on, once it has begun.
    place: Option<Url>,
    /// Bytes that the registry has.
    done: u64,
}

/// What one round came to.
enum Step {
    Brought(Brought),
    /// The upload has begun, or a piece of it arrived.
    Further,
}

pub(super) async fn upload(
    registry: &Registry,
    content: &Arc<dyn ContentStore>,
    access: Access<'_>,
    blob: Sent<'_>,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Brought, PullError> {
    let own = Target::own(&access, &registry.options().settings);
    let target = Target { push: true, sources: blob.elsewhere.to_vec(), ..own };
    let what = format!("{} {}", blob.what, blob.digest);
    let mut upload = Upload { registry, content, target, blob, what, progress, place: None, done: 0 };
    let mut tries = Tries::new(BLOB_TRIES);
    loop {
        let before = upload.done;
        match upload.step().await {
            Ok(Step::Brought(brought)) => return Ok(brought),
            Ok(Step::Further) => {}
            Err(failure) => {
                let progress = upload.done > before;
                tries.after(failure, progress, registry.options(), &access).await?;
                upload.catch_up().await;
            }
        }
    }
}

impl Upload<'_> {
    async fn step(&mut self) -> Result<Step, Failure> {
        let outcome = match self.place.clone() {
            None => self.begin().await,
            Some(place) if self.blob.size <= AT_ONCE => self.finish(place, true).await,
            Some(place) if self.done < self.blob.size => self.piece(place).await,
            Some(place) => self.finish(place, false).await,
        };
        let origin = self.target.origin.clone();
        outcome.map_err(|failure| match failure.is_lost_upload() && self.place.is_some() {
            true => failure.explained(&origin, &self.what).passing(),
            false => failure.explained(&origin, &self.what),
        })
    }

    /// Asks whether it is there, else begins an upload.
    async fn begin(&mut self) -> Result<Step, Failure> {
        let path = format!("/v2/{}/blobs/{}", self.target.repository, self.blob.digest);
        let what = self.what.clone();
        let origin = self.target.origin.clone();
        let request = Request { method: Method::HEAD, ..Request::get(&origin, &path, &what) };
        match self.registry.send(&self.target, &request).await {
            Ok(_) => return Ok(Step::Brought(Brought::Present)),
            Err(failure) if failure.is_not_found() => {}
            Err(failure) => return Err(failure),
        }
        let mut path = format!("/v2/{}/blobs/uploads/", self.target.repository);
        let source = self.target.sources.pop();
        if let Some(source) = &source {
            path.push_str(&format!("?mount={}&from={source}", self.blob.digest));
        }
        let request = Request { method: Method::POST, ..Request::get(&origin, &path, &what) };
        let response = match self.registry.send(&self.target, &request).await {
            // A token for both repositories is not to be had: then without the other one.
            Err(Failure::Challenged(_) | Failure::Final(PullError::Denied { .. })) if source.is_some() => {
                self.target.sources.clear();
                return Ok(Step::Further);
            }
            outcome => outcome?,
        };
        if let Some(source) = source.filter(|_| response.status() == StatusCode::CREATED) {
            return Ok(Step::Brought(Brought::Mounted(source)));
        }
        self.place = Some(self.location(&response, &request)?);
        self.done = 0;
        Ok(Step::Further)
    }

    /// Sends the next piece.
    async fn piece(&mut self, place: Url) -> Result<Step, Failure> {
        let length = PIECE.min(self.blob.size - self.done);
        let range = format!("{}-{}", self.done, self.done + length - 1);
        let response = self.send(Method::PATCH, place, length, &[(CONTENT_RANGE, range)]).await?;
        let what = self.what.clone();
        let origin = self.target.origin.clone();
        let request = Request::get(&origin, "", &what);
        self.place = Some(self.location(&response, &request)?);
        // It may have taken less than it was sent.
        let sent = self.done + length;
        self.done = match received(&response) {
            Some(taken) if taken == self.done => {
                return Err(Failure::Passing(request.unacceptable("it took nothing of what it was sent")));
            }
            Some(taken) if taken <= sent && taken > self.done => taken,
            Some(_) => {
                return Err(Failure::Final(request.unacceptable("it says that it has what was never sent")));
            }
            None => sent,
        };
        Ok(Step::Further)
    }

    /// Ends the upload; `whole`: all of the blob goes along.
    async fn finish(&mut self, mut place: Url, whole: bool) -> Result<Step, Failure> {
        place.query_pairs_mut().append_pair("digest", &self.blob.digest.to_string());
        self.done = if whole { 0 } else { self.done };
        let length = if whole { self.blob.size } else { 0 };
        self.send(Method::PUT, place, length, &[]).await?;
        self.done = self.blob.size;
        (self.progress)(self.done);
        Ok(Step::Brought(Brought::Uploaded))
    }

    /// Sends `length` bytes from where the registry is, with what credentials that needs.
    async fn send(
        &self,
        method: Method,
        place: Url,
        length: u64,
        headers: &[(HeaderName, String)],
    ) -> Result<Response, Failure> {
        let known = self.registry.tokens.known(&self.target);
        let response = self.send_once(&method, &place, length, headers, known.as_deref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return settled(response).await;
        }
        // Its token ran out while the last piece was under way.
        let (what, origin) = (self.what.clone(), self.target.origin.clone());
        let request = Request::get(&origin, "", &what);
        let answer = self.registry.authorize(&self.target, &request, &challenges(response.headers())).await?;
        let response = self.send_once(&method, &place, length, headers, Some(&answer)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(Failure::Challenged(Vec::new()));
        }
        self.registry.tokens.remember(&self.target, answer);
        settled(response).await
    }

    async fn send_once(
        &self,
        method: &Method,
        place: &Url,
        length: u64,
        headers: &[(HeaderName, String)],
        authorization: Option<&str>,
    ) -> Result<Response, Failure> {
        let (transport, options) = (&self.registry.transport, self.registry.options());
        let client = transport.clients.for_url(place, true, options).map_err(Failure::Final)?;
        let mut builder = client.request(method.clone(), place.clone()).header(CONTENT_LENGTH, length);
        builder = builder.header(CONTENT_TYPE, "application/octet-stream");
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value);
        }
        let sent = Arc::new(AtomicU64::new(0));
        if length > 0 {
            let outgoing = Outgoing {
                content: Arc::clone(self.content),
                digest: self.blob.digest.clone(),
                from: self.done,
                length,
            };
            builder = builder.body(outgoing::body(outgoing, Arc::clone(&sent)));
        }
        let (what, origin) = (self.what.clone(), self.target.origin.clone());
        let request = Request::get(&origin, "", &what);
        let limit = options.stall_timeout * 2 + SETTLING + Duration::from_secs(length / SLOWEST);
        let watched = self.watch(&sent, length);
        tokio::select! {
            answered = tokio::time::timeout(limit, builder.send()) => match answered {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(fault)) => Err(transport.broken(&fault, &request)),
                Err(_) => Err(transport.stalled_for(&request, limit)),
            },
            () = watched => Err(transport.stalled(&request)),
        }
    }

    /// Ends when nothing more goes out although there is more; tells of progress meanwhile.
    async fn watch(&self, sent: &AtomicU64, length: u64) {
        let patience = self.registry.options().stall_timeout;
        let (mut last, mut since) = (0, tokio::time::Instant::now());
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = sent.load(Ordering::Relaxed);
            // When all has gone out the registry looks it over.
            let patience = if now < length { patience } else { SETTLING };
            if now != last {
                (last, since) = (now, tokio::time::Instant::now());
                (self.progress)(self.done + now);
            } else if since.elapsed() > patience {
                return;
            }
        }
    }

    /// After a failure: asks how far the registry got. One that does not know begins anew.
    async fn catch_up(&mut self) {
        let Some(place) = self.place.take().filter(|_| self.blob.size > AT_ONCE) else { return };
        let (what, origin) = (self.what.clone(), self.target.origin.clone());
        let request = Request::get(&origin, place.as_str(), &what);
        let Ok(response) = self.registry.send(&self.target, &request).await else { return };
        let Some(taken) = received(&response).filter(|taken| *taken <= self.blob.size) else { return };
        self.place = Some(self.location(&response, &request).unwrap_or(place));
        self.done = taken;
    }

    /// Where the registry wants the upload, which must be at its own origin.
    fn location(&self, response: &Response, request: &Request<'_>) -> Result<Url, Failure> {
        let refuse = |reason| Failure::Final(request.unacceptable(reason));
        let own = Url::parse(&self.target.origin.base).map_err(|_| refuse("its name does not make a URL"))?;
        let location =
            text(response.headers(), &LOCATION).ok_or(refuse("it names no place for the upload"))?;
        let url = response
            .url()
            .join(&location)
            .map_err(|_| refuse("the place it names for the upload is no URL"))?;
        if url.origin() == own.origin() && url.username().is_empty() && url.password().is_none() {
            Ok(url)
        } else {
            Err(refuse("it wants the upload at another address than its own"))
        }
    }
}

/// A success, or the refusal.
async fn settled(response: Response) -> Result<Response, Failure> {
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(Failure::Refused(refusal::read(response).await))
    }
}

/// How many bytes the registry says that it has: `Range: 0-LAST`, where `0-0` is also said of none.
fn received(response: &Response) -> Option<u64> {
    let range = text(response.headers(), &RANGE)?;
    let range = range.strip_prefix("bytes=").unwrap_or(&range);
    let last: u64 = range.strip_prefix("0-")?.trim().parse().ok()?;
    Some(if last == 0 { 0 } else { last.checked_add(1)? })
}
