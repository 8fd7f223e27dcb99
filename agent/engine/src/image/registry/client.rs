//! The http clients: one for each way in which hosts are to be spoken to. What is said of a registry (its CA, our
//! certificate for it, that it need not prove itself) holds for its own host and for none it points at.
//!
//! Proxies are those of the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`), as everywhere; this host is never
//! reached through one.

use std::collections::HashMap;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, Url};

use super::RegistryOptions;
use super::origin::Origin;
use super::settings::{Insecure, is_local};
use crate::image::PullError;

/// Kept at most; each holds a table of certificates.
const MAX_CLIENTS: usize = 32;
/// Longest certificate or key file, in bytes.
const MAX_PEM: u64 = 1 << 20;

/// The clients that were needed so far.
#[derive(Debug, Default)]
pub(super) struct Clients {
    made: Mutex<HashMap<Profile, Client>>,
}

/// How a host is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Profile {
    plain: bool,
    local: bool,
    unverified: bool,
    /// Silence is no failure while we are sending.
    sending: bool,
    authorities: Vec<Stamped>,
    identity: Option<(Stamped, Stamped)>,
}

/// A file, and when it was changed: a new certificate makes a new client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stamped {
    path: PathBuf,
    changed: Option<SystemTime>,
}

impl Stamped {
    fn new(path: PathBuf) -> Self {
        let changed = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
        Self { path, changed }
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        let failed = |reason: String| format!("{}: {reason}", self.path.display());
        let length = std::fs::metadata(&self.path).map_err(|fault| failed(fault.to_string()))?.len();
        if length > MAX_PEM {
            return Err(failed(format!("it is longer than {MAX_PEM} bytes")));
        }
        std::fs::read(&self.path).map_err(|fault| failed(fault.to_string()))
    }
}

impl Clients {
    /// The client for a URL. `sending`: a body goes out, which may take long.
    pub(super) fn for_url(
        &self,
        url: &Url,
        sending: bool,
        options: &RegistryOptions,
    ) -> Result<Client, PullError> {
        let name = Origin::name_of(url);
        let profile = Profile::of(url, &name, sending, options);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&profile) {
            return Ok(client.clone());
        }
        let client = profile.build(options).map_err(|reason| {
            if profile.authorities.is_empty() && profile.identity.is_none() {
                PullError::Tls { reason }
            } else {
                PullError::Certificates { registry: name, reason }
            }
        })?;
        if made.len() >= MAX_CLIENTS {
            made.clear();
        }
        made.insert(profile, client.clone());
        Ok(client)
    }
}

impl Profile {
    fn of(url: &Url, name: &str, sending: bool, options: &RegistryOptions) -> Self {
        let local = is_local(name);
        if url.scheme() == "http" {
            return Self { plain: true, local, sending, ..Self::default() };
        }
        let settings = options.settings.of(name);
        let (mut authorities, mut identity) = docker_certificates(&options.settings.certificates_of(name));
        authorities.extend(settings.ca.map(Stamped::new));
        if let (Some(certificate), Some(key)) = (settings.client_certificate, settings.client_key) {
            identity = Some((Stamped::new(certificate), Stamped::new(key)));
        }
        let unverified = settings.insecure == Insecure::UnverifiedTls;
        Self { plain: false, local, unverified, sending, authorities, identity }
    }

    fn build(&self, options: &RegistryOptions) -> Result<Client, String> {
        // An error says that a provider was installed before, by whoever else uses TLS in this process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut authorities = Vec::new();
        for file in &self.authorities {
            let found = Certificate::from_pem_bundle(&file.read()?).ok().filter(|found| !found.is_empty());
            authorities
                .extend(found.ok_or_else(|| format!("{}: no certificate in it", file.path.display()))?);
        }
        let builder = || {
            let mut builder = Client::builder()
                .user_agent(concat!("roadstead/", env!("CARGO_PKG_VERSION")))
                .redirect(Policy::none())
                .connect_timeout(options.connect_timeout)
                .http2_max_header_list_size(64 << 10);
            if !self.sending {
                builder = builder.read_timeout(options.stall_timeout);
            }
            if let Some((certificate, key)) = &self.identity {
                let pem = [certificate.read()?, b"\n".to_vec(), key.read()?].concat();
                let identity = Identity::from_pem(&pem).map_err(|_| {
                    let (certificate, key) = (certificate.path.display(), key.path.display());
                    format!("{certificate} and {key} are no certificate with its key")
                })?;
                builder = builder.identity(identity);
            }
            Ok::<_, String>(if self.local { builder.no_proxy() } else { builder })
        };
        let built = if self.plain {
            // Without certificates it builds on hosts that have none.
            builder()?.tls_certs_only([]).build()
        } else if self.unverified {
            builder()?.tls_certs_only([]).tls_danger_accept_invalid_certs(true).build()
        } else if authorities.is_empty() {
            builder()?.build()
        } else {
            match builder()?.tls_certs_merge(authorities.clone()).build() {
                // The host has no certificates of its own.
                Err(_) => builder()?.tls_certs_only(authorities).build(),
                built => built,
            }
        };
        built.map_err(|fault| fault.source().map_or_else(|| fault.to_string(), ToString::to_string))
    }
}

/// What Docker reads from such a directory: `*.crt` are authorities, `*.cert` with a `*.key` of its name is ours.
fn docker_certificates(dir: &Path) -> (Vec<Stamped>, Option<(Stamped, Stamped)>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return (Vec::new(), None) };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).take(64).collect();
    paths.sort();
    let with = |suffix: &str| {
        let is = |path: &&PathBuf| path.extension().is_some_and(|found| found == suffix);
        paths.iter().filter(is).cloned().collect::<Vec<_>>()
    };
    let mut pair =
        with("cert").into_iter().map(|certificate| (certificate.with_extension("key"), certificate));
    let pair = pair.rfind(|(key, _)| key.exists());
    let identity = pair.map(|(key, certificate)| (Stamped::new(certificate), Stamped::new(key)));
    (with("crt").into_iter().map(Stamped::new).collect(), identity)
}
