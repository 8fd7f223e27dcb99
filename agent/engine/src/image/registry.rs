//! The registry client: GET of manifests and blobs over the distribution API, and nothing else.
//!
//! A registry is not trusted: answers are bounded in size and time, digests decide what is content, and credentials
//! go to the registry they are for and to nobody it points at. Redirects are followed here by hand, so that is plain to
//! see (`registry/transport.rs`). Registries on this host and those listed as insecure are spoken to in plain http.
//!
//! Deliberately absent: pushing, catalogues, foreign layer URLs, and the `Link` header.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use tokio::sync::mpsc::Sender;

use crate::content::Digest;

use self::auth::Tokens;
use self::origin::Origin;
use self::retry::Failure;
use self::transport::{Request, Transport};

use super::manifest::{ACCEPT, MAX_MANIFEST};
use super::{PullError, Reference};

mod auth;
mod blob;
mod challenge;
mod credentials;
mod origin;
mod retry;
mod transport;

/// How registries are spoken to.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// `host[:port]` of registries that are spoken to in plain http, besides those on this host.
    pub insecure: Vec<String>,
    /// Docker's configuration with credentials; by default `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
    pub docker_config: Option<PathBuf>,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Without a byte arriving.
    pub stall_timeout: Duration,
    /// Before the second try; doubled before each further one.
    pub retry_delay: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            docker_config: credentials::default_path(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            retry_delay: Duration::from_millis(250),
        }
    }
}

/// A client for all registries.
#[derive(Debug)]
pub(super) struct Registry {
    options: RegistryOptions,
    transport: Transport,
    tokens: Tokens,
}

/// A manifest or index as the registry sent it.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) bytes: Vec<u8>,
    pub(super) content_type: Option<String>,
}

/// A blob to fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// "layer" or "configuration".
    pub(super) what: &'static str,
    pub(super) digest: &'a Digest,
    pub(super) size: u64,
}

impl Registry {
    pub(super) fn new(options: RegistryOptions) -> Self {
        let transport = Transport::new(options.clone());
        let tokens = Tokens::new(options.docker_config.clone());
        Self { options, transport, tokens }
    }

    /// Fetches a manifest or index by tag or digest, and checks it against `digest` if there is one.
    pub(super) async fn manifest(
        &self,
        image: &Reference,
        digest: Option<&Digest>,
    ) -> Result<Fetched, PullError> {
        let version = digest.map_or_else(|| image.tag().unwrap_or("latest").to_owned(), ToString::to_string);
        let what = format!("manifest {}", image.within_registry());
        let fetched = retry::run(&self.options, || self.manifest_once(image, &version, &what)).await?;
        if let Some(expected) = digest {
            let mut hasher = crate::content::Hasher::new(expected.algorithm());
            hasher.update(&fetched.bytes);
            let actual = hasher.finish();
            if actual != *expected {
                return Err(PullError::Damaged { what: "manifest", expected: expected.clone(), actual });
            }
        }
        Ok(fetched)
    }

    async fn manifest_once(&self, image: &Reference, version: &str, what: &str) -> Result<Fetched, Failure> {
        let origin = Origin::of(image, &self.options);
        let path = format!("/v2/{}/manifests/{version}", image.path());
        let request = Request { origin: &origin, path: &path, accept: Some(ACCEPT), from: None, what };
        let response = match self.send(image, &request).await {
            Err(Failure::Status(StatusCode::NOT_FOUND)) => {
                return Err(Failure::Final(PullError::NotFound { image: image.to_string() }));
            }
            outcome => outcome.map_err(|failure| failure.explained(&origin, what))?,
        };
        let content_type = response.headers().get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = self.transport.read_all(response, MAX_MANIFEST, &request).await?;
        Ok(Fetched { bytes, content_type })
    }

    /// Fetches a blob into `sink`, which checks its digest; `progress` hears how many bytes came so far. Where a
    /// connection breaks the next one goes on from there.
    pub(super) async fn blob(
        &self,
        image: &Reference,
        wanted: Wanted<'_>,
        sink: &Sender<Bytes>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), PullError> {
        blob::fetch(self, image, wanted, sink, progress).await
    }

    /// Sends a request with what credentials it needs: those it had last time, or those the registry asks for.
    async fn send(&self, image: &Reference, request: &Request<'_>) -> Result<reqwest::Response, Failure> {
        let key = (image.domain().to_owned(), image.path().to_owned());
        let known = self.tokens.known(&key);
        let challenge = match self.transport.get(request, known.as_deref()).await {
            Err(Failure::Challenged(challenges)) => challenges,
            outcome => return outcome,
        };
        let denied = || {
            Failure::Final(PullError::Denied {
                registry: request.origin.name.clone(),
                what: request.what.to_owned(),
            })
        };
        let answer =
            self.tokens.answer(&self.transport, request, image, &challenge).await?.ok_or_else(denied)?;
        match self.transport.get(request, Some(&answer)).await {
            Err(Failure::Challenged(_)) => Err(denied()),
            outcome => {
                if outcome.is_ok() {
                    self.tokens.remember(key, answer);
                }
                outcome
            }
        }
    }
}
