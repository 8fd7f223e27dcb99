//! How single registries are reached: a file that the host's administrator writes (TOML), and Docker's directories of
//! certificates. Read once, when the agent starts; certificates are read again when their files change.
//!
//! ```toml
//! [registry."docker.io"]
//! mirrors = ["mirror.example:5000", "cache.example/hub"]   # asked first, in this order
//!
//! [registry."registry.example:5000"]
//! ca = "/etc/roadstead/example-ca.pem"
//! client_certificate = "/etc/roadstead/node.pem"
//! client_key = "/etc/roadstead/node.key"
//! token_hosts = ["login.example"]
//!
//! [registry."10.0.0.7:5000"]
//! insecure = "http"
//! ```

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::image::Reference;

/// Where Docker keeps certificates, one directory for each registry.
const CERTS_DIR: &str = "/etc/docker/certs.d";
/// Longest file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What is known of single registries before they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    registries: BTreeMap<String, Settings>,
    /// Directories of certificates as Docker has them, named after registries.
    certs_dir: PathBuf,
}

/// A file of settings that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot use the registries' settings in {}: {reason}", path.display())]
pub struct SettingsError {
    path: PathBuf,
    reason: String,
}

/// The settings of one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// `HOST[:PORT][/PREFIX]`, asked before the registry itself.
    pub(super) mirrors: Vec<Mirror>,
    pub(super) insecure: Insecure,
    /// Certificates (PEM) that vouch for it, beside the host's own.
    pub(super) ca: Option<PathBuf>,
    pub(super) client_certificate: Option<PathBuf>,
    pub(super) client_key: Option<PathBuf>,
    /// Hosts of token services that may see its credentials.
    pub(super) token_hosts: Vec<String>,
}

/// What is given up of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Insecure {
    #[default]
    No,
    /// All of it.
    Http,
    /// Knowing who is at the other end.
    UnverifiedTls,
}

/// A registry that has what another one has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Mirror {
    pub(super) host: String,
    /// What stands before repositories there; empty, or such as `hub/`.
    pub(super) prefix: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    registry: BTreeMap<String, Settings>,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { registries: BTreeMap::new(), certs_dir: CERTS_DIR.into() }
    }
}

impl RegistrySettings {
    /// Reads a file of settings.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, or says what is not understood; certificates are not looked at yet.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let failed = |reason: String| SettingsError { path: path.to_path_buf(), reason };
        let length = std::fs::metadata(path).map_err(|fault| failed(fault.to_string()))?.len();
        if length > MAX_FILE {
            return Err(failed(format!("it is longer than {MAX_FILE} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|fault| failed(fault.to_string()))?;
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|fault| fault.to_string().trim_end().to_owned())?;
        for (name, settings) in &file.registry {
            let wrong = |reason: &str| format!("registry.{name:?}: {reason}");
            if !is_host(name) {
                return Err(wrong("a registry is named by its host and port, such as \"example.com:5000\""));
            }
            if settings.client_certificate.is_some() != settings.client_key.is_some() {
                return Err(wrong("client_certificate and client_key go together"));
            }
            let files = [&settings.ca, &settings.client_certificate, &settings.client_key];
            if files.into_iter().flatten().any(|file| !file.is_absolute()) {
                return Err(wrong("paths start with a slash"));
            }
            if settings.insecure == Insecure::Http && (settings.ca.is_some() || settings.client_key.is_some())
            {
                return Err(wrong("without TLS (insecure = \"http\") there is no use for certificates"));
            }
        }
        Ok(Self { registries: file.registry, ..Self::default() })
    }

    /// The same with registries that are spoken to without TLS.
    #[must_use]
    pub fn with_plain_http(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        for host in hosts {
            self.registries.entry(host).or_default().insecure = Insecure::Http;
        }
        self
    }

    /// The same with Docker's directories of certificates elsewhere.
    #[must_use]
    pub fn with_certs_dir(mut self, dir: PathBuf) -> Self {
        self.certs_dir = dir;
        self
    }

    /// Registries that give up something of TLS, in order.
    pub fn insecure(&self) -> impl Iterator<Item = &str> {
        let named = self.registries.iter().filter(|(_, settings)| settings.insecure != Insecure::No);
        named.map(|(name, _)| name.as_str())
    }

    /// The URLs of a registry's mirrors, in order.
    pub fn mirrors(&self, name: &str) -> Vec<String> {
        let scheme = |mirror: &Mirror| if self.is_plain(&mirror.host) { "http" } else { "https" };
        let url = |mirror: &Mirror| format!("{}://{}/{}", scheme(mirror), mirror.host, mirror.prefix);
        self.of(name).mirrors.iter().map(url).collect()
    }

    /// The settings of a registry, by its name in references.
    pub(super) fn of(&self, name: &str) -> Settings {
        self.registries.get(name).cloned().unwrap_or_default()
    }

    /// Whether a registry is spoken to in plain http.
    pub(super) fn is_plain(&self, name: &str) -> bool {
        is_local(name) && !self.has_certificates(name)
            || self.registries.get(name).is_some_and(|settings| settings.insecure == Insecure::Http)
    }

    /// A registry on this host with certificates of its own speaks TLS.
    fn has_certificates(&self, name: &str) -> bool {
        let settings = self.of(name);
        settings.ca.is_some()
            || settings.insecure == Insecure::UnverifiedTls
            || std::fs::read_dir(self.certificates_of(name)).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Docker's directory for a registry.
    pub(super) fn certificates_of(&self, name: &str) -> PathBuf {
        self.certs_dir.join(name)
    }
}

impl TryFrom<String> for Mirror {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (host, prefix) = text.split_once('/').unwrap_or((text.as_str(), ""));
        let prefix = prefix.trim_end_matches('/');
        let sound = prefix.is_empty() || format!("x.invalid/{prefix}").parse::<Reference>().is_ok();
        if !is_host(host) || !sound || prefix.contains([':', '@']) {
            return Err(format!(
                "{text:?} is not a mirror: write HOST[:PORT][/PREFIX], and how it is reached in its own table"
            ));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { host: host.to_owned(), prefix })
    }
}

/// Whether this is `host[:port]`, which is also the name of a file in [`CERTS_DIR`].
fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    !text.is_empty() && !text.starts_with('.') && text.len() <= 255 && text.bytes().all(allowed)
}

/// `localhost` and 127.0.0.0/8, as Docker does; what is on this host needs no TLS to be what it says.
pub(super) fn is_local(domain: &str) -> bool {
    let host = match domain.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => domain.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host == "::1"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_registries_have_what_it_says() {
        let text = r#"
            [registry."docker.io"]
            mirrors = ["mirror.example:5000", "cache.example/hub/"]
            [registry."a.example"]
            ca = "/ca.pem"
            client_certificate = "/c.pem"
            client_key = "/k.pem"
            token_hosts = ["login.example"]
            [registry."10.0.0.7:5000"]
            insecure = "http"
            [registry."10.0.0.8:5000"]
            insecure = "unverified-tls"
        "#;
        let settings = RegistrySettings::parse(text).unwrap().with_plain_http(["10.0.0.9".to_owned()]);
        let mirrors = settings.of("docker.io").mirrors;
        let shown: Vec<String> =
            mirrors.iter().map(|mirror| format!("{} {}", mirror.host, mirror.prefix)).collect();
        assert_eq!(shown, ["mirror.example:5000 ", "cache.example hub/"]);
        assert_eq!(settings.of("a.example").token_hosts, ["login.example"]);
        assert_eq!(settings.of("10.0.0.8:5000").insecure, Insecure::UnverifiedTls);
        let plain = |name| settings.is_plain(name);
        assert!(plain("10.0.0.7:5000") && plain("10.0.0.9") && plain("localhost:5000"));
        assert!(!plain("10.0.0.8:5000") && !plain("10.0.0.7") && !plain("a.example"));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        for (text, expected) in [
            ("registry = 3", "invalid type"),
            ("[registry.\"a.example\"]\nmirror = [\"x\"]", "unknown field"),
            ("[registry.\"a.example\"]\ninsecure = \"yes\"", "unknown variant"),
            ("[registry.\"a.example\"]\nmirrors = [\"https://x\"]", "is not a mirror"),
            ("[registry.\"a.example\"]\nmirrors = [\"x/../y\"]", "is not a mirror"),
            ("[registry.\"a.example\"]\nca = \"ca.pem\"", "paths start with a slash"),
            ("[registry.\"a.example\"]\nclient_key = \"/k\"", "go together"),
            ("[registry.\"a.example\"]\ninsecure = \"http\"\nca = \"/k\"", "no use for certificates"),
            ("[registry.\"../x\"]", "named by its host"),
        ] {
            let reason = RegistrySettings::parse(text).unwrap_err();
            assert!(reason.contains(expected), "{text}: {reason}");
        }
        let fault = RegistrySettings::read(Path::new("/nonexistent/r.toml")).unwrap_err().to_string();
        assert!(fault.contains("/nonexistent/r.toml"), "{fault}");
    }
}
