//! The identity on disk: `D/identity/node.pem` (key, then chain) and
//! `D/identity/cluster.json`. Each is written to a temporary file, synced and
//! renamed, the PEM file last: while it is missing the node has not joined.
//! Both are readable by root only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use super::{Identity, IdentityError};

/// Why an identity could not be kept or read back.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system's word.
    #[error("{action} {path}: {source}", path = path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The files are there but make no sense.
    #[error("{path} is damaged ({reason}); move the directory away and join again with --join and --token", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Cluster {
    node_id: String,
    cluster_id: String,
    controller: String,
}

/// The directory `identity` of a data directory.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// The store below `data_dir`; nothing is touched yet.
    pub fn new(data_dir: &Path) -> Self {
        Self { directory: data_dir.join("identity") }
    }

    fn pem(&self) -> PathBuf {
        self.directory.join("node.pem")
    }

    fn cluster(&self) -> PathBuf {
        self.directory.join("cluster.json")
    }

    /// Whether the node has joined a cluster before.
    pub fn exists(&self) -> bool {
        self.pem().exists()
    }

    /// What was kept; `None` before the node has joined.
    ///
    /// # Errors
    /// When a file cannot be read or makes no sense.
    pub fn load(&self) -> Result<Option<Identity>, StoreError> {
        let Some(pem) = read(&self.pem())? else { return Ok(None) };
        let path = self.cluster();
        let cluster = read(&path)?.ok_or_else(|| damaged(&path, "it is missing"))?;
        let cluster: Cluster = serde_json::from_slice(&cluster).map_err(|error| damaged(&path, error))?;
        decode(&pem, cluster).map(Some).map_err(|reason| damaged(&self.pem(), reason))
    }

    /// Keeps `identity`; when this answers a power cut cannot take it away.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, identity: &Identity) -> Result<(), StoreError> {
        let failed = |source| StoreError::File { action: "make", path: self.directory.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(failed)?;
        let cluster = Cluster {
            node_id: identity.node_id.clone(),
            cluster_id: identity.cluster_id.clone(),
            controller: identity.controller.clone(),
        };
        let text = serde_json::to_vec_pretty(&cluster).map_err(|error| damaged(&self.cluster(), error))?;
        write(&self.cluster(), &text)?;
        write(&self.pem(), encode(identity).as_bytes())
    }
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::File { action: "read", path: path.to_owned(), source }),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let failed = |source| StoreError::File { action: "write", path: path.to_owned(), source };
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
}

fn encode(identity: &Identity) -> String {
    let mut text = block("PRIVATE KEY", &identity.key);
    for certificate in identity.chain() {
        text.push_str(&block("CERTIFICATE", certificate.as_ref()));
    }
    text
}

/// One PEM block, RFC 7468: base64 in lines of 64.
fn block(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for piece in der.chunks(48) {
        text.push_str(&STANDARD.encode(piece));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn decode(pem: &[u8], cluster: Cluster) -> Result<Identity, String> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|error| format!("no private key: {error}"))?;
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("certificates: {error}"))?;
    let Cluster { node_id, cluster_id, controller } = cluster;
    Identity::new(node_id, cluster_id, controller, chain, key.secret_pkcs8_der().to_vec())
        .map_err(|error: IdentityError| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::identity::testing::Authority;

    #[test]
    fn an_identity_is_read_back_as_it_was_kept_and_only_by_root() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        assert!(store.load().unwrap().is_none());
        let identity = Authority::new().node("n1", "c:1");
        store.save(&identity).unwrap();
        assert_eq!(store.load().unwrap(), Some(identity));
        for (path, mode) in [(store.pem(), 0o600), (store.cluster(), 0o600), (store.directory.clone(), 0o700)]
        {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
        }
    }

    #[test]
    fn a_key_that_does_not_fit_is_reported_as_damage() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        let authority = Authority::new();
        store.save(&authority.node("n1", "c:1")).unwrap();
        let other = block("PRIVATE KEY", &authority.node("n2", "c:1").key);
        let kept = fs::read_to_string(store.pem()).unwrap();
        let (_, chain) = kept.split_once("-----END PRIVATE KEY-----\n").unwrap();
        fs::write(store.pem(), format!("{other}{chain}")).unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains("another key"), "{error}");
    }
}
