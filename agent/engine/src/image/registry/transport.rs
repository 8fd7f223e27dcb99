//! One request: connection, redirects, time limits, bounded bodies.
//!
//! Redirects of what is read are followed here, at most five, never from https to http. `Authorization` goes along
//! only while scheme, host and port stay the registry's; storage services that a registry redirects to get a bare
//! request. What is written goes to the registry's own origin or nowhere.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RANGE, WWW_AUTHENTICATE,
};
use reqwest::{Method, Response, StatusCode, Url};

use super::RegistryOptions;
use super::client::Clients;
use super::origin::Origin;
use super::refusal;
use super::retry::Failure;
use crate::image::PullError;

const MAX_REDIRECTS: usize = 5;

/// What to ask, and where; the words are for messages.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) origin: &'a Origin,
    /// Path and query there, or a whole URL of that origin.
    pub(super) path: &'a str,
    pub(super) accept: Option<&'a str>,
    /// The first byte to get, if not the first of all, and the last one, if not the last of all.
    pub(super) range: Option<(u64, Option<u64>)>,
    pub(super) body: Option<(&'a str, Bytes)>,
    pub(super) what: &'a str,
}

#[derive(Debug)]
pub(super) struct Transport {
    pub(super) options: RegistryOptions,
    pub(super) clients: Clients,
}

impl<'a> Request<'a> {
    pub(super) fn get(origin: &'a Origin, path: &'a str, what: &'a str) -> Self {
        Self { method: Method::GET, origin, path, accept: None, range: None, body: None, what }
    }

    /// An answer that breaks the rules.
    pub(super) fn unacceptable(&self, reason: &str) -> PullError {
        let (registry, what) = (self.origin.name.clone(), self.what.to_owned());
        PullError::Protocol { registry, what, reason: reason.to_owned() }
    }

    fn refuse(&self, reason: &str) -> Failure {
        Failure::Final(self.unacceptable(reason))
    }

    /// The URL, which is of the registry's own origin.
    pub(super) fn url(&self) -> Result<Url, Failure> {
        let base = Url::parse(&self.origin.base).map_err(|_| self.refuse("its name does not make a URL"))?;
        let url = base.join(self.path).map_err(|_| self.refuse("its name does not make a URL"))?;
        if url.origin() == base.origin() {
            Ok(url)
        } else {
            Err(self.refuse("it wants this at another address than its own"))
        }
    }
}

impl Transport {
    pub(super) fn new(options: RegistryOptions) -> Self {
        Self { options, clients: Clients::default() }
    }

    /// Sends a request and follows redirects; answers a response whose status is success.
    pub(super) async fn send(
        &self,
        request: &Request<'_>,
        authorization: Option<&str>,
    ) -> Result<Response, Failure> {
        let start = request.url()?;
        let mut url = start.clone();
        for _ in 0..=MAX_REDIRECTS {
            let at_home = url.origin() == start.origin();
            let response = self.send_once(&url, authorization.filter(|_| at_home), request).await?;
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                if !matches!(request.method, Method::GET | Method::HEAD) {
                    return Err(request.refuse("it redirects what is sent to it"));
                }
                url = next(&url, &response).map_err(|reason| request.refuse(reason))?;
            } else if status == StatusCode::UNAUTHORIZED && at_home {
                return Err(Failure::Challenged(challenges(response.headers())));
            } else if status.is_success() {
                return Ok(response);
            } else {
                return Err(Failure::Refused(refusal::read(response).await));
            }
        }
        Err(request.refuse("it redirects too often"))
    }

    /// One request, no redirect followed, whatever the status.
    pub(super) async fn send_once(
        &self,
        url: &Url,
        authorization: Option<&str>,
        request: &Request<'_>,
    ) -> Result<Response, Failure> {
        let client = self.clients.for_url(url, false, &self.options).map_err(Failure::Final)?;
        let mut builder = client.request(request.method.clone(), url.clone());
        if let Some(accept) = request.accept {
            builder = builder.header(ACCEPT, accept);
        }
        match request.range {
            Some((from, Some(last))) => builder = builder.header(RANGE, format!("bytes={from}-{last}")),
            Some((from, None)) => builder = builder.header(RANGE, format!("bytes={from}-")),
            None => {}
        }
        if let Some((kind, bytes)) = &request.body {
            builder = builder.header(CONTENT_TYPE, *kind).body(bytes.clone());
        }
        if let Some(value) = authorization {
            builder = builder.header(AUTHORIZATION, value);
        }
        let waited = self.options.stall_timeout + self.options.connect_timeout;
        match tokio::time::timeout(waited, builder.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(fault)) => Err(self.broken(&fault, request)),
            Err(_) => Err(self.stalled(request)),
        }
    }

    /// Reads a body of at most `limit` bytes.
    pub(super) async fn read_all(
        &self,
        response: Response,
        limit: u64,
        request: &Request<'_>,
    ) -> Result<Vec<u8>, Failure> {
        // A body that trickles may take as long as one stall, not one per byte.
        let reading = self.read_bounded(response, limit, request);
        match tokio::time::timeout(self.options.stall_timeout, reading).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.stalled(request)),
        }
    }

    async fn read_bounded(
        &self,
        mut response: Response,
        limit: u64,
        request: &Request<'_>,
    ) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|fault| self.broken(&fault, request))? {
            if (bytes.len() + piece.len()) as u64 > limit {
                return Err(request.refuse(&format!("it is longer than {limit} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Puts a transport error into words.
    pub(super) fn broken(&self, fault: &reqwest::Error, request: &Request<'_>) -> Failure {
        if fault.is_timeout() && !fault.is_connect() {
            return self.stalled(request);
        }
        // The innermost cause says what happened; the outer ones only where in the library.
        let mut reason = fault.to_string();
        let mut source = fault.source();
        while let Some(cause) = source {
            reason = cause.to_string();
            source = cause.source();
        }
        let registry = request.origin.name.clone();
        if reason.contains("invalid peer certificate") {
            return Failure::Final(PullError::Untrusted { registry, reason });
        }
        if reason.contains("InvalidContentType") {
            return Failure::Final(PullError::NoTls { registry });
        }
        Failure::Passing(PullError::Unreachable { registry, reason })
    }

    pub(super) fn stalled(&self, request: &Request<'_>) -> Failure {
        self.stalled_for(request, self.options.stall_timeout)
    }

    pub(super) fn stalled_for(&self, request: &Request<'_>, waited: Duration) -> Failure {
        let (registry, what) = (request.origin.name.clone(), request.what.to_owned());
        Failure::Passing(PullError::Stalled { registry, what, waited })
    }
}

/// The values of `WWW-Authenticate` that may be looked at.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.filter_map(|value| value.to_str().ok()).take(8).map(str::to_owned).collect()
}

/// A header as text.
pub(super) fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn next(from: &Url, response: &Response) -> Result<Url, &'static str> {
    let location = text(response.headers(), &LOCATION);
    let url =
        location.and_then(|location| from.join(&location).ok()).ok_or("it redirects to no valid URL")?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => Ok(url),
        _ => Err("it redirects to an unprotected address"),
    }
}
