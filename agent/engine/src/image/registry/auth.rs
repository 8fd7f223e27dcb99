//! Answers challenges: exchanges credentials, or nothing, for a token that reads one repository.
//!
//! A registry can name any realm. The rules: it is https, or on the very host of a registry that is itself spoken to in
//! plain http; and credentials go there only when it is the registry's own host or a sibling of it (Docker Hub's
//! `auth.docker.io`). Another realm is asked anonymously.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use reqwest::Url;
use serde::Deserialize;

use super::challenge::{self, Challenge};
use super::credentials::{self, Credentials};
use super::retry::Failure;
use super::transport::{Request, Transport};
use crate::image::Reference;

/// Longest answer of a realm, in bytes.
const MAX_ANSWER: u64 = 64 << 10;
/// Repositories whose tokens are kept; beyond, all are forgotten and asked for again.
const MAX_KEPT: usize = 256;

/// Registry and repository.
pub(super) type Key = (String, String);

/// The headers that worked, by repository.
#[derive(Debug)]
pub(super) struct Tokens {
    docker_config: Option<PathBuf>,
    known: Mutex<HashMap<Key, Secret>>,
}

/// A header value that does not print.
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Tokens {
    pub(super) fn new(docker_config: Option<PathBuf>) -> Self {
        Self { docker_config, known: Mutex::default() }
    }

    /// The header that worked last for a repository.
    pub(super) fn known(&self, key: &Key) -> Option<String> {
        self.known.lock().ok()?.get(key).map(|secret| secret.0.clone())
    }

    pub(super) fn remember(&self, key: Key, header: String) {
        if let Ok(mut known) = self.known.lock() {
            if known.len() >= MAX_KEPT {
                known.clear();
            }
            known.insert(key, Secret(header));
        }
    }

    /// The `Authorization` that answers a challenge; `None` when we have nothing to answer with.
    pub(super) async fn answer(
        &self,
        transport: &Transport,
        request: &Request<'_>,
        image: &Reference,
        headers: &[String],
    ) -> Result<Option<String>, Failure> {
        let credentials = match &self.docker_config {
            Some(path) => credentials::find(path, image.domain()).await.map_err(Failure::Final)?,
            None => None,
        };
        match challenge::best(headers) {
            Some(Challenge::Basic) => Ok(credentials.map(|credentials| credentials.header())),
            Some(Challenge::Bearer { realm, service }) => {
                let realm = checked_realm(&realm, request)?;
                let header = credentials.filter(|_| may_know(&realm, request));
                token(transport, request, image, realm, service.as_deref(), header).await.map(Some)
            }
            None => Ok(None),
        }
    }
}

async fn token(
    transport: &Transport,
    request: &Request<'_>,
    image: &Reference,
    mut realm: Url,
    service: Option<&str>,
    credentials: Option<Credentials>,
) -> Result<String, Failure> {
    if let Some(service) = service {
        realm.query_pairs_mut().append_pair("service", service);
    }
    realm.query_pairs_mut().append_pair("scope", &format!("repository:{}:pull", image.path()));
    let header = credentials.map(|credentials| credentials.header());
    let response = transport.get_once(&realm, header.as_deref(), request).await?;
    let status = response.status();
    if !status.is_success() {
        let what = format!("a token to read {}", image.path());
        let failure =
            if status.is_client_error() { Failure::Challenged(Vec::new()) } else { Failure::Status(status) };
        return Err(failure.explained(request.origin, &what));
    }
    let bytes = transport.read_all(response, MAX_ANSWER, request).await?;
    let answer: Option<Answer> = serde_json::from_slice(&bytes).ok();
    let token = answer.and_then(|answer| answer.token.or(answer.access_token));
    let usable = |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    match token.filter(usable) {
        Some(token) => Ok(format!("Bearer {token}")),
        None => Err(Failure::Final(request.unacceptable("its token service sent no token"))),
    }
}

fn checked_realm(realm: &str, request: &Request<'_>) -> Result<Url, Failure> {
    let refuse = |reason: &str| Failure::Final(request.unacceptable(reason));
    let url = Url::parse(realm).map_err(|_| refuse("its token service is not a URL"))?;
    let own = Url::parse(&request.origin.base).map_err(|_| refuse("its name does not make a URL"))?;
    let plain_but_own = url.scheme() == "http" && own.scheme() == "http" && url.host_str() == own.host_str();
    if url.scheme() == "https" || plain_but_own {
        Ok(url)
    } else {
        Err(refuse("its token service is neither https nor on the registry's own host"))
    }
}

/// Whether a realm may see the credentials that are for the registry.
fn may_know(realm: &Url, request: &Request<'_>) -> bool {
    let (Ok(own), Some(realm)) = (Url::parse(&request.origin.base), realm.host_str()) else { return false };
    let Some(own) = own.host_str() else { return false };
    // The registry's parent domain, if that is more than a top-level domain, and not part of an address.
    let parent = own
        .split_once('.')
        .map(|(_, parent)| parent)
        .filter(|parent| parent.contains('.') && !parent.ends_with(|last: char| last.is_ascii_digit()));
    realm == own || parent.is_some_and(|parent| realm == parent || realm.ends_with(&format!(".{parent}")))
}

#[cfg(test)]
mod tests {
    use super::super::origin::Origin;
    use super::*;

    fn judge(base: &str, realm: &str) -> (bool, bool) {
        let origin = Origin { name: "registry".into(), base: base.into() };
        let request = Request { origin: &origin, path: "/", accept: None, from: None, what: "manifest" };
        match checked_realm(realm, &request) {
            Ok(url) => (true, may_know(&url, &request)),
            Err(_) => (false, false),
        }
    }

    #[test]
    fn realms_are_accepted_and_trusted_by_the_rules() {
        for (base, realm, accepted, trusted) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true, true),
            ("https://ghcr.io", "https://ghcr.io/token", true, true),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true, true),
            ("https://registry-1.docker.io", "https://evil.example/token", true, false),
            ("https://ghcr.io", "https://evil.io/token", true, false),
            ("https://10.0.0.1", "https://11.0.0.1/token", true, false),
            ("https://registry-1.docker.io", "https://auth.docker.io.evil.example/token", true, false),
            ("https://ghcr.io", "http://ghcr.io/token", false, false),
            ("http://localhost:5000", "http://localhost:5001/token", true, true),
            ("http://localhost:5000", "http://evil.example/token", false, false),
            ("http://localhost:5000", "file:///etc/passwd", false, false),
            ("http://localhost:5000", "nonsense", false, false),
        ] {
            assert_eq!(judge(base, realm), (accepted, trusted), "{base} {realm}");
        }
    }
}
