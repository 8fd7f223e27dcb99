//! Credentials as Docker's clients send them: JSON in base64 in the header `X-Registry-Auth`, or the body of a login.
//! They are for the registry that they name and for none that a request happens to be about.

use agent_engine::image::{Credentials, Reference};
use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;

use crate::error::ApiError;

const HEADER: HeaderName = HeaderName::from_static("x-registry-auth");

#[derive(Default, Deserialize)]
#[serde(default)]
struct Sent {
    username: String,
    password: String,
    auth: String,
    serveraddress: String,
    identitytoken: String,
}

/// The credentials in a request, if it has any and they are for the image's registry.
pub(crate) fn of(headers: &HeaderMap, image: &Reference) -> Result<Option<Credentials>, ApiError> {
    let Some(text) = headers.get(HEADER).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let text = text.trim().trim_end_matches('=');
    if text.is_empty() {
        return Ok(None);
    }
    let unreadable = || ApiError::BadRequest("the header X-Registry-Auth is not readable".to_owned());
    let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
    let bytes = URL_SAFE.decode(&padded).or_else(|_| STANDARD.decode(&padded)).map_err(|_| unreadable())?;
    let sent: Sent = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
    if !sent.serveraddress.is_empty() && host(&sent.serveraddress) != image.domain() {
        return Ok(None);
    }
    Ok(sent.credentials())
}

/// The registry and the credentials of a login.
pub(crate) fn of_login(body: &[u8]) -> Result<(String, Credentials), ApiError> {
    // Not the parser's own words: they may quote a secret.
    let sent: Sent = serde_json::from_slice(body)
        .map_err(|_| ApiError::BadRequest("the body is not what a login sends".to_owned()))?;
    let registry = if sent.serveraddress.is_empty() { "docker.io" } else { host(&sent.serveraddress) };
    let named = format!("{registry}/x").parse::<Reference>();
    if !named.is_ok_and(|named| named.domain() == registry) {
        return Err(ApiError::BadRequest(format!("{registry:?} is not a registry")));
    }
    let credentials = sent.credentials();
    let missing = || ApiError::BadRequest("a login needs a user and a password".to_owned());
    Ok((registry.to_owned(), credentials.ok_or_else(missing)?))
}

impl Sent {
    fn credentials(&self) -> Option<Credentials> {
        if !self.identitytoken.is_empty() {
            return Some(Credentials::identity_token(&self.identitytoken));
        }
        if !self.username.is_empty() {
            return Some(Credentials::password(&self.username, &self.password));
        }
        let plain = String::from_utf8(STANDARD.decode(&self.auth).ok()?).ok()?;
        plain.split_once(':').map(|(user, password)| Credentials::password(user, password))
    }
}

/// Addresses are hosts, or URLs; Docker Hub goes by its first name.
fn host(address: &str) -> &str {
    let address =
        address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")).unwrap_or(address);
    match address.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str, image: &str) -> Result<Option<Credentials>, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, URL_SAFE.encode(text).parse().unwrap());
        of(&headers, &image.parse().unwrap())
    }

    #[test]
    fn credentials_are_for_the_registry_that_they_name() {
        let user = Some(Credentials::password("u", "p?>~"));
        let text = r#"{"username":"u","password":"p?>~","serveraddress":"https://index.docker.io/v1/"}"#;
        assert_eq!(sent(text, "alpine").unwrap(), user);
        assert_eq!(sent(text, "r.example/alpine").unwrap(), None);
        assert_eq!(sent(r#"{"username":"u","password":"p?>~"}"#, "r.example/x").unwrap(), user);
        assert_eq!(sent(r#"{"identitytoken":"t"}"#, "x").unwrap(), Some(Credentials::identity_token("t")));
        assert_eq!(sent("{}", "x").unwrap(), None);
        assert!(sent("secret", "x").unwrap_err().to_string().contains("not readable"));
        assert_eq!(of(&HeaderMap::new(), &"x".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn a_login_names_its_registry() {
        let (registry, _) =
            of_login(br#"{"username":"u","password":"p","serveraddress":"127.0.0.1:5000"}"#).unwrap();
        assert_eq!(registry, "127.0.0.1:5000");
        for bad in [&b"{}"[..], br#"{"username":"u","serveraddress":"../x"}"#, b"hunter2"] {
            assert!(!of_login(bad).unwrap_err().to_string().contains("hunter2"));
        }
    }
}
