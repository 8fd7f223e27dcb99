//! Credentials people gave to `docker login`: the `auths` of Docker's configuration file. Read, never written.
//!
//! They are looked up by the exact registry, never by the first that resembles it. Credential helpers are programs
//! and are not run.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::image::PullError;

/// User and password as `Authorization: Basic` takes them. Prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    encoded: String,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl Credentials {
    /// The value of the header.
    pub(super) fn header(&self) -> String {
        format!("Basic {}", self.encoded)
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

/// The credentials for a registry; `None` when there are none, or no file.
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
    Ok(file.auths.iter().find(|(key, _)| host(key) == registry).and_then(|(_, entry)| entry.credentials()))
}

impl Entry {
    fn credentials(&self) -> Option<Credentials> {
        let encoded = if self.auth.is_empty() {
            (!self.username.is_empty())
                .then(|| STANDARD.encode(format!("{}:{}", self.username, self.password)))
        } else {
            Some(self.auth.trim().to_owned())
        };
        // What is not base64 would not survive as a header either.
        encoded.filter(|text| STANDARD.decode(text).is_ok()).map(|encoded| Credentials { encoded })
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
            "helper.example":{}},"credsStore":"x"}"#;
        let header = |found: Option<Credentials>| found.map(|credentials| credentials.header());
        assert_eq!(header(look(text, "docker.io").await.unwrap()).as_deref(), Some("Basic dTpw"));
        assert_eq!(header(look(text, "localhost:5000").await.unwrap()).as_deref(), Some("Basic YTpi"));
        for other in ["localhost", "localhost:50000", "helper.example", "evil.docker.io"] {
            assert_eq!(look(text, other).await.unwrap(), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_broken_file_is_named_and_its_content_is_not_shown() {
        let fault = look(r#"{"auths":{"x":{"auth":"c2VjcmV0" oops}}}"#, "x").await.unwrap_err().to_string();
        assert!(fault.contains("config.json") && !fault.contains("c2VjcmV0"), "{fault}");
        assert_eq!(find(Path::new("/nonexistent/config.json"), "x").await.unwrap(), None);
        assert_eq!(format!("{:?}", Credentials { encoded: "c2VjcmV0".into() }), "Credentials(..)");
    }
}
