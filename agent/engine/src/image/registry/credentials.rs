//! Credentials for registries: given with a request, or those of the host: Docker's configuration file and the helper
//! programs it names. Read, never written.
//!
//! They are looked up by the exact registry, never by the first that resembles it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::keychain;
use crate::content::Digest;
use crate::image::PullError;

/// The key of Docker Hub in Docker's file and for its helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A user with a password, or a token that stands for both. Prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    secret: Secret,
}

#[derive(Clone, PartialEq, Eq)]
enum Secret {
    /// `user:password` in base64, as `Authorization: Basic` takes it.
    Basic(String),
    /// What a token service gave for both (Docker's identity token).
    Token(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

impl Credentials {
    /// A user's password.
    pub fn password(user: &str, password: &str) -> Self {
        Self { secret: Secret::Basic(STANDARD.encode(format!("{user}:{password}"))) }
    }

    /// A token that a token service takes in place of user and password.
    pub fn identity_token(token: &str) -> Self {
        Self { secret: Secret::Token(token.to_owned()) }
    }

    /// The value of `Authorization: Basic`; `None` for a token, which only a token service takes.
    pub(super) fn header(&self) -> Option<String> {
        match &self.secret {
            Secret::Basic(encoded) => Some(format!("Basic {encoded}")),
            Secret::Token(_) => None,
        }
    }

    /// The token, if it is one.
    pub(super) fn token(&self) -> Option<&str> {
        match &self.secret {
            Secret::Token(token) => Some(token),
            Secret::Basic(_) => None,
        }
    }

    /// Tells users apart without being of use to anybody.
    pub(super) fn fingerprint(&self) -> String {
        let (Secret::Basic(text) | Secret::Token(text)) = &self.secret;
        Digest::of(text.as_bytes()).to_string()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Where Docker keeps them for the user of this process.
pub(super) fn default_path() -> Option<PathBuf> {
    let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    dir.or_else(home).map(|dir| dir.join("config.json"))
}

/// The credentials of this host for a registry; `None` when there are none, or no file.
pub(super) async fn find(path: &Path, registry: &str) -> Result<Option<Credentials>, PullError> {
    let failed = |reason: String| PullError::Credentials { path: path.to_path_buf(), reason };
    let bytes = match tokio::fs::read(path).await {
        Ok(bytes) => bytes,
        Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(None),
        Err(fault) => return Err(failed(fault.to_string())),
    };
    // Not the parser's own words: they may quote a secret.
    let file: File = serde_json::from_slice(&bytes)
        .map_err(|fault| failed(format!("line {} is not what docker login writes", fault.line())))?;
    let own = file.cred_helpers.iter().find(|(key, _)| host(key) == registry).map(|(_, helper)| helper);
    let helper = own.or(Some(&file.creds_store)).filter(|helper| !helper.is_empty());
    let key = if registry == "docker.io" { HUB_KEY } else { registry };
    if let Some(helper) = helper
        && let Some(found) = keychain::get(helper, key).await.map_err(failed)?
    {
        return Ok(Some(found));
    }
    Ok(file.auths.iter().find(|(key, _)| host(key) == registry).and_then(|(_, entry)| entry.credentials()))
}

impl Entry {
    fn credentials(&self) -> Option<Credentials> {
        if !self.identitytoken.is_empty() {
            return Some(Credentials::identity_token(&self.identitytoken));
        }
        let encoded = if self.auth.is_empty() {
            (!self.username.is_empty())
                .then(|| STANDARD.encode(format!("{}:{}", self.username, self.password)))
        } else {
            Some(self.auth.trim().to_owned())
        };
        // What is not base64 would not survive as a header either.
        let encoded = encoded.filter(|text| STANDARD.decode(text).is_ok())?;
        Some(Credentials { secret: Secret::Basic(encoded) })
    }
}

/// Keys are hosts, or URLs from older versions; Docker Hub goes by its first name.
fn host(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match key.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn look(text: &str, registry: &str) -> Result<Option<Credentials>, PullError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        find(&path, registry).await
    }

    #[tokio::test]
    async fn credentials_are_found_for_exactly_their_registry() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"localhost:5000":{"username":"a","password":"b"},
            "token.example":{"auth":"dTpw","identitytoken":"t"},"empty.example":{}}}"#;
        let header = |found: Option<Credentials>| found.and_then(|credentials| credentials.header());
        assert_eq!(header(look(text, "docker.io").await.unwrap()).as_deref(), Some("Basic dTpw"));
        assert_eq!(header(look(text, "localhost:5000").await.unwrap()).as_deref(), Some("Basic YTpi"));
        assert_eq!(look(text, "token.example").await.unwrap(), Some(Credentials::identity_token("t")));
        for other in ["localhost", "localhost:50000", "empty.example", "evil.docker.io"] {
            assert_eq!(look(text, other).await.unwrap(), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_broken_file_is_named_and_its_content_is_not_shown() {
        let fault = look(r#"{"auths":{"x":{"auth":"c2VjcmV0" oops}}}"#, "x").await.unwrap_err().to_string();
        assert!(fault.contains("config.json") && !fault.contains("c2VjcmV0"), "{fault}");
        assert_eq!(find(Path::new("/nonexistent/config.json"), "x").await.unwrap(), None);
        assert_eq!(format!("{:?}", Credentials::password("user", "secret")), "Credentials(..)");
    }

    #[tokio::test]
    async fn a_helper_that_is_missing_or_no_plain_name_is_named() {
        for (helper, expected) in
            [("no-such-helper-here", "docker-credential-no-such-helper-here"), ("../x", "no name")]
        {
            let text = format!(
                r#"{{"credHelpers":{{"x.example":"{helper}"}},"auths":{{"y.example":{{"auth":"dTpw"}}}}}}"#
            );
            let fault = look(&text, "x.example").await.unwrap_err().to_string();
            assert!(fault.contains(expected), "{fault}");
            assert!(look(&text, "y.example").await.unwrap().is_some(), "the helper is for another registry");
        }
    }
}
