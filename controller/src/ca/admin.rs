//! The administrator's client bundle, `<data>/admin/{root,cert,key}.pem`. Its
//! key stays; only the certificate is replaced when half its life is over, by
//! one rename, so a `ctl` that reads at that moment never sees half of each.

use std::path::Path;
use std::time::SystemTime;

use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::files::{private_dir, read_if_there, write_private};
use super::issue::LEAF_LIFE;
use super::{Ca, CaError, PeerName, Role};

/// The user the bundle is made for.
pub const ADMIN: &str = "admin";

impl Ca {
    /// Makes sure that the directory holds a bundle with at least half of its
    /// life left.
    ///
    /// # Errors
    /// When a file can't be read or written, or signing fails.
    pub fn ensure_admin_bundle(&self, dir: &Path, now: SystemTime) -> Result<(), CaError> {
        let at = |name: &str| dir.join(name);
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| CaError::File { path, source }
        };
        private_dir(dir).map_err(file(dir))?;
        let (root_path, cert_path, key_path) = (at("root.pem"), at("cert.pem"), at("key.pem"));
        if read_if_there(&root_path).map_err(file(&root_path))?.as_deref() != Some(self.root_pem()) {
            write_private(&root_path, self.root_pem().as_bytes()).map_err(file(&root_path))?;
        }
        let old_key = read_if_there(&key_path).map_err(file(&key_path))?;
        let old_key = old_key.and_then(|text| KeyPair::from_pem(&text).ok());
        if let (Some(key), Some(text)) = (&old_key, read_if_there(&cert_path).map_err(file(&cert_path))?)
            && self.is_fresh(&text, key, now)
        {
            return Ok(());
        }
        let key = match old_key {
            Some(key) => key,
            None => {
                let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(CaError::Key)?;
                write_private(&key_path, key.serialize_pem().as_bytes()).map_err(file(&key_path))?;
                key
            }
        };
        let issued = self.issue_for_key(&PeerName::new(self.cluster_id(), Role::User, ADMIN), &key, now)?;
        write_private(&cert_path, issued.leaf_pem.as_bytes()).map_err(file(&cert_path))
    }

    /// Whether a certificate is of this cluster and this key, and will be valid
    /// for another half life.
    fn is_fresh(&self, certificate: &str, key: &KeyPair, now: SystemTime) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(certificate.as_bytes()) else { return false };
        let Ok((_, leaf)) = X509Certificate::from_der(&der) else { return false };
        let Ok((_, root)) = X509Certificate::from_der(self.root_der()) else { return false };
        let left = super::time_left(&leaf, now);
        leaf.verify_signature(Some(root.public_key())).is_ok()
            && &*leaf.public_key().subject_public_key.data == key.public_key_raw()
            && left.is_some_and(|left| left > LEAF_LIFE / 2 && left <= LEAF_LIFE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_bundle_is_kept_and_an_old_one_gets_a_new_certificate_for_the_same_key() {
        let scratch = tempfile::tempdir().unwrap();
        let ca = Ca::open_or_create(&scratch.path().join("ca")).unwrap();
        let dir = scratch.path().join("admin");
        let read = || ["root", "cert", "key"].map(|n| std::fs::read(dir.join(format!("{n}.pem"))).unwrap());
        let now = SystemTime::now();
        ca.ensure_admin_bundle(&dir, now).unwrap();
        let first = read();
        ca.ensure_admin_bundle(&dir, now + LEAF_LIFE / 3).unwrap();
        assert_eq!(read(), first);
        ca.ensure_admin_bundle(&dir, now + LEAF_LIFE * 2 / 3).unwrap();
        let second = read();
        assert_eq!((&second[0], &second[2]), (&first[0], &first[2]));
        assert_ne!(second[1], first[1]);
        std::fs::write(dir.join("cert.pem"), "damaged").unwrap();
        ca.ensure_admin_bundle(&dir, now).unwrap();
        assert_ne!(read()[1], b"damaged");
    }
}
