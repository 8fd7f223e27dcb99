//! The registry client: manifests and blobs over the distribution API, both ways.
//!
//! A registry is not trusted: answers are bounded in size and time, digests decide what is content, and credentials
//! go to the registry they are for and to nobody it points at. Redirects are followed here by hand, so that is plain to
//! see (`registry/transport.rs`). Registries on this host and those listed as insecure are spoken to in plain http.
//! What an administrator says of single registries is in `registry/settings.rs`.
//!
//! Deliberately absent: catalogues, foreign layer URLs, and cookies.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderName;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;

use crate::content::{ContentStore, Digest};

use self::auth::Tokens;
use self::origin::{Origin, Target};
use self::retry::Failure;
use self::transport::{Request, Transport};

use super::manifest::{ACCEPT, MAX_MANIFEST};
use super::{PullError, Reference};

pub use self::credentials::Credentials;
pub use self::settings::{RegistrySettings, SettingsError};
pub(super) use self::upload::{Brought, Sent};

mod auth;
mod blob;
mod challenge;
mod client;
mod credentials;
mod keychain;
mod origin;
mod outgoing;
mod parts;
mod refusal;
mod retry;
mod settings;
mod transport;
mod upload;

/// How registries are spoken to.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// What is known of single registries.
    pub settings: RegistrySettings,
    /// Docker's configuration with credentials; by default `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
    pub docker_config: Option<PathBuf>,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Without a byte arriving.
    pub stall_timeout: Duration,
    /// Before the second try; doubled before each further one.
    pub retry_delay: Duration,
    /// Bytes of one part of a large layer, where parts are fetched side by side.
    pub segment: u64,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            settings: RegistrySettings::default(),
            docker_config: credentials::default_path(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            retry_delay: Duration::from_millis(250),
            segment: 8 << 20,
        }
    }
}

/// What a registry took a manifest for.
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// So long a mirror that did not work is not asked again.
const MIRROR_REST: Duration = Duration::from_secs(30);

/// A client for all registries.
#[derive(Debug)]
pub(super) struct Registry {
    transport: Transport,
    tokens: Tokens,
    /// Mirrors that did not work, and when.
    resting: Mutex<HashMap<String, Instant>>,
    /// Room for parts of blobs that wait for their turn.
    parts: Semaphore,
}

/// What is asked for, as whom, and who hears of it.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    pub(super) image: &'a Reference,
    /// Given with the request; else the host's own are taken.
    pub(super) login: Option<&'a Credentials>,
    /// Whether mirrors may answer.
    pub(super) mirrors: bool,
    /// Hears of waits: why, and how long.
    pub(super) tell: &'a (dyn Fn(&str, Duration) + Send + Sync),
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
        Self {
            transport: Transport::new(options),
            tokens: Tokens::default(),
            resting: Mutex::default(),
            parts: Semaphore::new(parts::PLACES),
        }
    }

    fn options(&self) -> &RegistryOptions {
        &self.transport.options
    }

    /// Whether somebody else than the registry itself may answer for it.
    pub(super) fn has_mirrors(&self, image: &Reference) -> bool {
        !self.options().settings.of(image.domain()).mirrors.is_empty()
    }

    /// Fetches a manifest or index by tag or digest, and checks it against `digest` if there is one.
    pub(super) async fn manifest(
        &self,
        access: Access<'_>,
        digest: Option<&Digest>,
    ) -> Result<Fetched, PullError> {
        let image = access.image;
        let version = digest.map_or_else(|| image.tag().unwrap_or("latest").to_owned(), ToString::to_string);
        let what = format!("manifest {}", image.within_registry());
        let mut targets = self.readable(&access);
        loop {
            let target = targets.remove(0);
            let attempt = || self.manifest_once(&target, image, &version, &what);
            let fetched = retry::run(self.options(), &access, attempt).await;
            let fetched = fetched.and_then(|fetched| checked(fetched, digest));
            match fetched {
                Err(error) if !targets.is_empty() => self.rest(&target, &error),
                outcome => return outcome,
            }
        }
    }

    async fn manifest_once(
        &self,
        target: &Target,
        image: &Reference,
        version: &str,
        what: &str,
    ) -> Result<Fetched, Failure> {
        let path = format!("/v2/{}/manifests/{version}", target.repository);
        let request = Request { accept: Some(ACCEPT), ..Request::get(&target.origin, &path, what) };
        let response = match self.send(target, &request).await {
            Err(failure) if failure.is_not_found() => {
                return Err(Failure::Final(PullError::NotFound { image: image.to_string() }));
            }
            outcome => outcome.map_err(|failure| failure.explained(&target.origin, what))?,
        };
        let content_type = transport::text(response.headers(), &reqwest::header::CONTENT_TYPE);
        let bytes = self.transport.read_all(response, MAX_MANIFEST, &request).await?;
        Ok(Fetched { bytes, content_type })
    }

    /// Fetches a blob into `sink`, which checks its digest; `progress` hears how many bytes came so far. Where a
    /// connection breaks the next one goes on from there.
    pub(super) async fn blob(
        &self,
        access: Access<'_>,
        wanted: Wanted<'_>,
        sink: &Sender<Bytes>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), PullError> {
        blob::fetch(self, access, wanted, sink, progress).await
    }

    /// Brings a blob of the content store there.
    pub(super) async fn upload(
        &self,
        content: &Arc<dyn ContentStore>,
        access: Access<'_>,
        blob: Sent<'_>,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Brought, PullError> {
        upload::upload(self, content, access, blob, progress).await
    }

    /// Puts a manifest there, under a tag or its own digest, once all that it names is there.
    pub(super) async fn put_manifest(
        &self,
        access: Access<'_>,
        version: &str,
        bytes: &[u8],
        kind: &str,
        digest: &Digest,
    ) -> Result<(), PullError> {
        let target = Target { push: true, ..Target::own(&access, &self.options().settings) };
        let what = format!("manifest {}", access.image.within_registry());
        let path = format!("/v2/{}/manifests/{version}", target.repository);
        let body = Some((kind, Bytes::copy_from_slice(bytes)));
        let request = Request { method: Method::PUT, body, ..Request::get(&target.origin, &path, &what) };
        let attempt = || async {
            let response = self.send(&target, &request).await;
            let response = response.map_err(|failure| failure.explained(&target.origin, &what))?;
            let theirs = transport::text(response.headers(), &DIGEST);
            match theirs.and_then(|theirs| theirs.parse::<Digest>().ok()) {
                // Computed by another algorithm it says nothing of ours.
                Some(theirs) if theirs.algorithm() == digest.algorithm() && theirs != *digest => {
                    Err(Failure::Final(request.unacceptable("it took it for something else than was sent")))
                }
                _ => Ok(()),
            }
        };
        retry::run(self.options(), &access, attempt).await
    }

    /// Asks a registry whether it takes these credentials. One that asks for none takes any.
    pub(super) async fn check_login(&self, name: &str, login: &Credentials) -> Result<(), PullError> {
        let target = Target {
            origin: Origin::of(name, &self.options().settings),
            repository: String::new(),
            push: false,
            sources: Vec::new(),
            login: Some(login.clone()),
        };
        let request = Request::get(&target.origin, "/v2/", "the login");
        let asked = self.send(&target, &request).await;
        let asked = asked.map_err(|failure| failure.explained(&target.origin, "the login"));
        match asked {
            Ok(_) => Ok(()),
            Err(Failure::Final(PullError::Denied { registry, .. })) => {
                Err(PullError::WrongLogin { registry })
            }
            Err(Failure::Final(error) | Failure::Passing(error) | Failure::Later(error, _)) => Err(error),
            Err(Failure::Refused(_) | Failure::Challenged(_)) => Err(PullError::Interrupted),
        }
    }

    /// Where an image can be read, without mirrors that failed a moment ago.
    fn readable(&self, access: &Access<'_>) -> Vec<Target> {
        let mut targets = Target::readable(access, &self.options().settings);
        let own = targets.pop();
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = |target: &Target| {
            resting.get(&target.origin.base).is_some_and(|since| since.elapsed() < MIRROR_REST)
        };
        targets.retain(|target| !rests(target));
        targets.extend(own);
        targets
    }

    /// Notes why a mirror is passed over. One that merely lacks an image is as good as before.
    fn rest(&self, mirror: &Target, error: &PullError) {
        let name = &mirror.origin.name;
        let lacks = matches!(error, PullError::Status { status, .. } if status.starts_with("404"));
        if lacks || matches!(error, PullError::NotFound { .. }) {
            tracing::debug!(mirror = name, "the mirror does not have it");
            return;
        }
        tracing::warn!(mirror = name, %error, "going past a mirror");
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|_, since| since.elapsed() < MIRROR_REST);
        resting.insert(mirror.origin.base.clone(), Instant::now());
    }

    /// Sends a request with what credentials it needs: those it had last time, or those the registry asks for.
    async fn send(&self, target: &Target, request: &Request<'_>) -> Result<reqwest::Response, Failure> {
        let known = self.tokens.known(target);
        match self.transport.send(request, known.as_deref()).await {
            Err(Failure::Challenged(challenge)) => {
                let answer = self.authorize(target, request, &challenge).await?;
                match self.transport.send(request, Some(&answer)).await {
                    Err(Failure::Challenged(_)) => Err(Failure::Final(denied(request))),
                    Ok(response) => {
                        self.tokens.remember(target, answer);
                        Ok(response)
                    }
                    outcome => outcome,
                }
            }
            outcome => outcome,
        }
    }

    /// The `Authorization` that answers a challenge.
    async fn authorize(
        &self,
        target: &Target,
        request: &Request<'_>,
        challenge: &[String],
    ) -> Result<String, Failure> {
        let answer = auth::answer(&self.transport, request, target, challenge).await?;
        answer.ok_or_else(|| Failure::Final(denied(request)))
    }
}

fn denied(request: &Request<'_>) -> PullError {
    PullError::Denied { registry: request.origin.name.clone(), what: request.what.to_owned() }
}

fn checked(fetched: Fetched, digest: Option<&Digest>) -> Result<Fetched, PullError> {
    let Some(expected) = digest else { return Ok(fetched) };
    let mut hasher = crate::content::Hasher::new(expected.algorithm());
    hasher.update(&fetched.bytes);
    let actual = hasher.finish();
    if actual == *expected {
        Ok(fetched)
    } else {
        Err(PullError::Damaged { what: "manifest", expected: expected.clone(), actual })
    }
}
