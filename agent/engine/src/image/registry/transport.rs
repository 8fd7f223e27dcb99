//! One GET: connection, redirects, time limits, bounded bodies. The only file that sees reqwest's client.
//!
//! Redirects are followed here, at most five, never from https to http. `Authorization` goes along only while scheme,
//! host and port stay the registry's; storage services that a registry redirects to get a bare request.

use std::error::Error as _;
use std::sync::OnceLock;

use reqwest::header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use super::RegistryOptions;
use super::origin::Origin;
use super::retry::Failure;
use crate::image::PullError;

const MAX_REDIRECTS: usize = 5;

/// What to get, and from where; the words are for messages.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) origin: &'a Origin,
    pub(super) path: &'a str,
    pub(super) accept: Option<&'a str>,
    /// The first byte to get, if not the first of all.
    pub(super) from: Option<u64>,
    pub(super) what: &'a str,
}

#[derive(Debug)]
pub(super) struct Transport {
    options: RegistryOptions,
    plain: OnceLock<Result<Client, String>>,
    /// Built when first needed: on a host without CA certificates it cannot be, and http registries need none.
    tls: OnceLock<Result<Client, String>>,
}

impl Request<'_> {
    /// An answer that breaks the rules.
    pub(super) fn unacceptable(&self, reason: &str) -> PullError {
        let (registry, what) = (self.origin.name.clone(), self.what.to_owned());
        PullError::Protocol { registry, what, reason: reason.to_owned() }
    }
}

impl Transport {
    pub(super) fn new(options: RegistryOptions) -> Self {
        Self { options, plain: OnceLock::new(), tls: OnceLock::new() }
    }

    /// Sends a request and follows redirects; answers a response whose status is success.
    pub(super) async fn get(
        &self,
        request: &Request<'_>,
        authorization: Option<&str>,
    ) -> Result<Response, Failure> {
        let refuse = |reason: &str| Failure::Final(request.unacceptable(reason));
        let start = Url::parse(&format!("{}{}", request.origin.base, request.path))
            .map_err(|_| refuse("its name does not make a URL"))?;
        let mut url = start.clone();
        for _ in 0..=MAX_REDIRECTS {
            let at_home = url.origin() == start.origin();
            let response = self.get_once(&url, authorization.filter(|_| at_home), request).await?;
            let status = response.status();
            if status.is_redirection() {
                url = next(&url, &response).map_err(refuse)?;
            } else if status == StatusCode::UNAUTHORIZED && at_home {
                let headers = response.headers().get_all(WWW_AUTHENTICATE);
                let values =
                    headers.iter().filter_map(|value| value.to_str().ok()).take(8).map(str::to_owned);
                return Err(Failure::Challenged(values.collect()));
            } else if status.is_success() {
                return Ok(response);
            } else {
                return Err(Failure::Status(status));
            }
        }
        Err(refuse("it redirects too often"))
    }

    /// One request, no redirect followed, whatever the status.
    pub(super) async fn get_once(
        &self,
        url: &Url,
        authorization: Option<&str>,
        request: &Request<'_>,
    ) -> Result<Response, Failure> {
        let mut builder = self.client(url).map_err(Failure::Final)?.get(url.clone());
        if let Some(accept) = request.accept {
            builder = builder.header(ACCEPT, accept);
        }
        if let Some(from) = request.from {
            builder = builder.header(RANGE, format!("bytes={from}-"));
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
                return Err(Failure::Final(
                    request.unacceptable(&format!("it is longer than {limit} bytes")),
                ));
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
        Failure::Passing(PullError::Unreachable { registry: request.origin.name.clone(), reason })
    }

    fn stalled(&self, request: &Request<'_>) -> Failure {
        Failure::Passing(PullError::Stalled {
            registry: request.origin.name.clone(),
            what: request.what.to_owned(),
            waited: self.options.stall_timeout,
        })
    }

    fn client(&self, url: &Url) -> Result<&Client, PullError> {
        let plain = url.scheme() == "http";
        let slot = if plain { &self.plain } else { &self.tls };
        let built = slot.get_or_init(|| build(&self.options, plain));
        built.as_ref().map_err(|reason| PullError::Tls { reason: reason.clone() })
    }
}

fn build(options: &RegistryOptions, plain: bool) -> Result<Client, String> {
    // An error says that a provider was installed before, by whoever else uses TLS in this process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("roadstead/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.stall_timeout);
    if plain {
        // Without certificates it builds on hosts that have none; a proxy would not reach this host's loopback.
        builder = builder.tls_certs_only([]).no_proxy();
    }
    builder.build().map_err(|fault| fault.source().map_or_else(|| fault.to_string(), ToString::to_string))
}

fn next(from: &Url, response: &Response) -> Result<Url, &'static str> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let url = location.and_then(|location| from.join(location).ok()).ok_or("it redirects to no valid URL")?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => Ok(url),
        _ => Err("it redirects to an unprotected address"),
    }
}
