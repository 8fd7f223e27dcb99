//! The cluster's certificate authority: one ECDSA P-256 root made on first
//! start, which issues every leaf directly. Pure but for its directory; no
//! network, no State, no clock of its own (callers pass the time).
//!
//! ```text
//! <data>/ca/root.key    PKCS#8, 0600; written first
//! <data>/ca/root.pem    its presence says that the authority is complete
//! <data>/admin/*.pem    a client bundle for the administrator
//! ```
//!
//! Deliberately absent: an intermediate and the rotation of the root.

mod admin;
mod files;
mod issue;
mod name;
mod token;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use self::files::{private_dir, read_if_there, write_private};
pub use self::{
    admin::ADMIN,
    issue::{BACK_DATED, Issued, Keyed, LEAF_LIFE, VerifiedRequest},
    name::{PeerName, PeerNameError, Role},
    token::{JoinToken, TokenError, hash_secret},
};

const ROOT_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
const KEY_FILE: &str = "root.key";
const CERTIFICATE_FILE: &str = "root.pem";
/// Year 9000: far before the last date a certificate can hold.
const LAST_SECOND: u64 = 221_845_392_000;
const ID_LENGTH: usize = 25;

/// Why the authority could not be opened or could not issue.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file or directory could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the authority does not hold what it should.
    #[error("{} is damaged: {why}; restore the directory from a backup", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// A key could not be made.
    #[error("a key could not be made: {0}")]
    Key(#[source] rcgen::Error),
    /// A certificate could not be signed.
    #[error("a certificate could not be signed: {0}")]
    Sign(#[source] rcgen::Error),
    /// A name can't stand in a certificate.
    #[error("a name can't stand in a certificate: {0}")]
    Name(#[source] rcgen::Error),
    /// The clock of this host is far off.
    #[error("the clock of this host shows a time no certificate can hold")]
    Clock,
    /// A signing request that does not parse or was not signed by its key.
    #[error("csr_der: not a valid signing request: {0}")]
    Request(#[source] rcgen::Error),
    /// A signing request for another kind of key.
    #[error("csr_der: the key must be ECDSA P-256")]
    KeyKind,
}

struct Inner {
    cluster_id: String,
    root: CertificateDer<'static>,
    root_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The authority; clones share one key.
#[derive(Clone)]
pub struct Ca(Arc<Inner>);

impl std::fmt::Debug for Ca {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Ca({})", self.0.cluster_id)
    }
}

impl Ca {
    /// Opens the authority kept in a directory, or makes a new cluster there.
    ///
    /// # Errors
    /// When the directory can't be used or holds a damaged authority. A root
    /// that is there is never replaced.
    pub fn open_or_create(dir: &Path) -> Result<Self, CaError> {
        private_dir(dir).map_err(|source| CaError::File { path: dir.to_owned(), source })?;
        let path = dir.join(CERTIFICATE_FILE);
        match read_if_there(&path).map_err(|source| CaError::File { path: path.clone(), source })? {
            Some(certificate) => Self::open(dir, &certificate),
            None => Self::create(dir, SystemTime::now()),
        }
    }

    fn create(dir: &Path, now: SystemTime) -> Result<Self, CaError> {
        let cluster_id = random_id()?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(CaError::Key)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, cluster_id.as_str());
        params.distinguished_name.push(DnType::CommonName, "Roadstead cluster root");
        let uri = format!("spiffe://{cluster_id}").try_into().map_err(CaError::Name)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now - Duration::from_secs(3600), now + ROOT_LIFE)?;
        let root = params.self_signed(&key).map_err(CaError::Sign)?;
        let (root, root_pem) = (root.der().clone(), root.pem());
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            write_private(&path, text.as_bytes()).map_err(|source| CaError::File { path, source })
        };
        write(KEY_FILE, &key.serialize_pem())?;
        write(CERTIFICATE_FILE, &root_pem)?;
        Ok(Self(Arc::new(Inner { cluster_id, root, root_pem, issuer: Issuer::new(params, key) })))
    }

    fn open(dir: &Path, certificate: &str) -> Result<Self, CaError> {
        let damaged = |name: &str, why: String| CaError::Damaged { path: dir.join(name), why };
        let path = dir.join(KEY_FILE);
        let key = std::fs::read_to_string(&path).map_err(|source| CaError::File { path, source })?;
        let key = KeyPair::from_pem(&key).map_err(|e| damaged(KEY_FILE, e.to_string()))?;
        let root = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|e| damaged(CERTIFICATE_FILE, e.to_string()))?;
        let cluster_id = {
            let (_, parsed) =
                X509Certificate::from_der(&root).map_err(|e| damaged(CERTIFICATE_FILE, e.to_string()))?;
            if &*parsed.public_key().subject_public_key.data != key.public_key_raw() {
                return Err(damaged(KEY_FILE, format!("it is not the key of {CERTIFICATE_FILE}")));
            }
            let uri = san_uri(&parsed).and_then(|uri| uri.strip_prefix("spiffe://"));
            uri.ok_or_else(|| damaged(CERTIFICATE_FILE, "it names no cluster".to_owned()))?.to_owned()
        };
        let issuer =
            Issuer::from_ca_cert_der(&root, key).map_err(|e| damaged(CERTIFICATE_FILE, e.to_string()))?;
        Ok(Self(Arc::new(Inner { cluster_id, root, root_pem: certificate.to_owned(), issuer })))
    }

    /// The cluster's id: part of every name this authority signs.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.0.cluster_id
    }

    /// The root certificate.
    #[must_use]
    pub fn root_der(&self) -> &CertificateDer<'static> {
        &self.0.root
    }

    /// The root certificate as text.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.0.root_pem
    }

    /// Makes a join token that pins this root.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn make_token(&self) -> Result<JoinToken, CaError> {
        JoinToken::make(self.root_der(), rustls::crypto::ring::default_provider().secure_random)
    }

    fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.0.issuer
    }
}

/// The one SAN URI of a certificate; none when there are several.
pub(crate) fn san_uri<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let first = uris.next()?;
    uris.next().is_none().then_some(first)
}

/// How long a certificate is still valid; none when it is not valid now.
pub(crate) fn time_left(certificate: &X509Certificate<'_>, now: SystemTime) -> Option<Duration> {
    not_after(certificate)?.duration_since(now).ok()
}

/// When a certificate ends.
pub(crate) fn not_after(certificate: &X509Certificate<'_>) -> Option<SystemTime> {
    let end = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(end))
}

/// X.509 counts whole seconds.
fn set_validity(params: &mut CertificateParams, from: SystemTime, to: SystemTime) -> Result<(), CaError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |time: SystemTime| match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) if since.as_secs() < LAST_SECOND => Ok(Duration::from_secs(since.as_secs())),
        _ => Err(CaError::Clock),
    };
    params.not_before = epoch + seconds(from)?;
    params.not_after = epoch + seconds(to)?;
    Ok(())
}

/// 25 characters of base 36, as all ids of a cluster are.
fn random_id() -> Result<String, CaError> {
    let mut bytes = [0; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| CaError::Random)?;
    let mut number = u128::from_be_bytes(bytes);
    let mut id = String::with_capacity(ID_LENGTH);
    for _ in 0..ID_LENGTH {
        let digit = u32::try_from(number % 36).ok().and_then(|digit| char::from_digit(digit, 36));
        id.extend(digit);
        number /= 36;
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_the_same_after_a_restart() {
        let scratch = tempfile::tempdir().unwrap();
        let made = Ca::open_or_create(scratch.path()).unwrap();
        let opened = Ca::open_or_create(scratch.path()).unwrap();
        assert_eq!(made.cluster_id(), opened.cluster_id());
        assert_eq!(made.cluster_id().len(), ID_LENGTH);
        assert_eq!(made.root_der(), opened.root_der());
        let name = PeerName::new(made.cluster_id(), Role::Node, "n");
        let issued = opened.issue_with_key(&name, SystemTime::now()).unwrap().issued;
        let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
        let (_, root) = X509Certificate::from_der(made.root_der()).unwrap();
        leaf.verify_signature(Some(root.public_key())).unwrap();
    }

    #[test]
    fn a_half_made_authority_is_made_anew_and_a_damaged_one_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        // A crash between the two files: nobody has seen that key yet.
        std::fs::write(dir.join(KEY_FILE), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        Ca::open_or_create(dir).unwrap();
        std::fs::write(dir.join(KEY_FILE), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let error = Ca::open_or_create(dir).unwrap_err().to_string();
        assert!(error.contains("root.key is damaged: it is not the key of root.pem"), "{error}");
        std::fs::remove_file(dir.join(KEY_FILE)).unwrap();
        assert!(matches!(Ca::open_or_create(dir), Err(CaError::File { .. })));
    }
}
