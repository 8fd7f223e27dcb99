//! Answers challenges: exchanges credentials, or nothing, for a token that reads or writes one repository.
//!
//! A registry can name any realm. The rules: it is https, or on the very host of a registry that is itself spoken to in
//! plain http; and credentials go there only when it is the registry's own host, the domain the registry's host lies
//! in (`gitlab.com` for `registry.gitlab.com`), or one that is known or listed as trusted for this registry (Docker
//! Hub's `auth.docker.io`). Another realm is asked anonymously. Realms are not followed when they redirect.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::RegistryOptions;
use super::challenge::{self, Challenge};
use super::credentials::{self, Credentials};
use super::origin::Target;
use super::refusal;
use super::retry::Failure;
use super::transport::{Request, Transport};
use crate::image::PullError;

/// Longest answer of a realm, in bytes.
const MAX_ANSWER: u64 = 64 << 10;
/// Targets whose tokens are kept; beyond, all are forgotten and asked for again.
const MAX_KEPT: usize = 256;
/// Registries whose token service is known to be elsewhere.
const KNOWN_REALMS: [(&str, &str); 2] =
    [("docker.io", "auth.docker.io"), ("registry.digitalocean.com", "api.digitalocean.com")];

/// The headers that worked, by what they are for.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    known: Mutex<HashMap<String, Secret>>,
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

/// One user's token never serves another: the key says whose it is.
fn key(target: &Target) -> String {
    let user = target.login.as_ref().map(Credentials::fingerprint).unwrap_or_default();
    format!("{} {} {user}", target.origin.base, target.scopes().join(" "))
}

impl Tokens {
    /// The header that worked last for a target.
    pub(super) fn known(&self, target: &Target) -> Option<String> {
        self.known.lock().ok()?.get(&key(target)).map(|secret| secret.0.clone())
    }

    pub(super) fn remember(&self, target: &Target, header: String) {
        if let Ok(mut known) = self.known.lock() {
            if known.len() >= MAX_KEPT {
                known.clear();
            }
            known.insert(key(target), Secret(header));
        }
    }
}

/// The `Authorization` that answers a challenge; `None` when we have nothing to answer with.
pub(super) async fn answer(
    transport: &Transport,
    request: &Request<'_>,
    target: &Target,
    headers: &[String],
) -> Result<Option<String>, Failure> {
    let name = &target.origin.name;
    let credentials = match (&target.login, &transport.options.docker_config) {
        (Some(login), _) => Some(login.clone()),
        (None, Some(path)) => credentials::find(path, name).await.map_err(Failure::Final)?,
        (None, None) => None,
    };
    match challenge::best(headers) {
        Some(Challenge::Basic) => Ok(credentials.and_then(|credentials| credentials.header())),
        Some(Challenge::Bearer { realm, service }) => {
            let realm = checked_realm(&realm, request)?;
            let trusted = may_know(&realm, request, &transport.options);
            let withheld = credentials.is_some() && !trusted;
            let asked =
                ask(transport, request, target, &realm, service.as_deref(), credentials.filter(|_| trusted));
            match asked.await {
                Err(Failure::Final(PullError::Denied { .. })) if withheld => {
                    let (registry, realm) = (name.clone(), realm.host_str().unwrap_or_default().to_owned());
                    Err(Failure::Final(PullError::Realm { registry, realm }))
                }
                outcome => outcome.map(Some),
            }
        }
        None => Ok(None),
    }
}

/// Asks a token service.
async fn ask(
    transport: &Transport,
    request: &Request<'_>,
    target: &Target,
    realm: &Url,
    service: Option<&str>,
    credentials: Option<Credentials>,
) -> Result<String, Failure> {
    let mut url = realm.clone();
    let mut asking =
        Request { accept: Some("application/json"), ..Request::get(request.origin, "", request.what) };
    let scopes = target.scopes();
    if let Some(token) = credentials.as_ref().and_then(Credentials::token) {
        // RFC 6749, 6: the token goes in the body, where no log of URLs has it.
        let mut form = url.clone();
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "roadstead")];
        form.query_pairs_mut().clear().extend_pairs(fields);
        form.query_pairs_mut().append_pair("service", service.unwrap_or_default());
        form.query_pairs_mut().append_pair("scope", &scopes.join(" "));
        let form = form.query().unwrap_or_default().to_owned();
        asking.method = Method::POST;
        asking.body = Some(("application/x-www-form-urlencoded", Bytes::from(form)));
    } else {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(service.map(|service| ("service", service)));
        query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
    }
    let header = credentials.and_then(|credentials| credentials.header());
    let response = transport.send_once(&url, header.as_deref(), &asking).await?;
    let status = response.status();
    if !status.is_success() {
        let what =
            format!("a token for {}", if target.repository.is_empty() { "it" } else { &target.repository });
        let denied = status.is_client_error() && status != reqwest::StatusCode::TOO_MANY_REQUESTS;
        let refused = || async { Failure::Refused(refusal::read(response).await) };
        let failure = if denied { Failure::Challenged(Vec::new()) } else { refused().await };
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
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("its token service's URL has a user in it"));
    }
    let plain_but_own = url.scheme() == "http" && own.scheme() == "http" && url.host_str() == own.host_str();
    if url.scheme() == "https" || plain_but_own {
        Ok(url)
    } else {
        Err(refuse("its token service is neither https nor on the registry's own host"))
    }
}

/// Whether a realm may see the credentials that are for the registry.
fn may_know(realm: &Url, request: &Request<'_>, options: &RegistryOptions) -> bool {
    let (Ok(own), Some(realm)) = (Url::parse(&request.origin.base), realm.host_str()) else { return false };
    let Some(own) = own.host_str() else { return false };
    let name = request.origin.name.as_str();
    // The domain that the registry's host lies in, if that is more than a top-level domain, and no part of an address.
    let parent = own
        .split_once('.')
        .map(|(_, parent)| parent)
        .filter(|parent| parent.contains('.') && !parent.ends_with(|last: char| last.is_ascii_digit()));
    realm == own
        || parent == Some(realm)
        || KNOWN_REALMS.contains(&(name, realm))
        || options.settings.of(name).token_hosts.iter().any(|host| host == realm)
}

#[cfg(test)]
mod tests {
    use super::super::origin::Origin;
    use super::*;

    fn judge(base: &str, realm: &str) -> (bool, bool) {
        let name = Origin::name_of(&Url::parse(base).unwrap());
        let origin = Origin { name, base: base.into() };
        let request = Request::get(&origin, "/", "manifest");
        match checked_realm(realm, &request) {
            Ok(url) => (true, may_know(&url, &request, &RegistryOptions::default())),
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
            // Whoever has a name beside the registry's: one.github.io is not other.github.io.
            ("https://one.github.io", "https://other.github.io/token", true, false),
            ("https://registry.co.uk", "https://evil.co.uk/token", true, false),
            ("https://10.0.0.1", "https://11.0.0.1/token", true, false),
            ("https://registry-1.docker.io", "https://auth.docker.io.evil.example/token", true, false),
            ("https://ghcr.io", "https://user:word@ghcr.io/token", false, false),
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
