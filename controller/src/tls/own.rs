//! The controller's own certificate: issued anew at each start, so its key
//! never touches a disk, and replaced in place at half life while running.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsError;
use crate::ca::{Ca, PeerName, Role};

/// How often the age of the certificates is looked at. A look costs nothing,
/// and unlike one long sleep it copes with a clock that jumps.
const LOOK_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    renew_at: SystemTime,
}

/// A certificate that can be replaced under running servers and clients.
#[derive(Debug)]
pub struct OwnCertificate {
    name: PeerName,
    current: RwLock<Current>,
}

impl OwnCertificate {
    /// Issues the first certificate of this controller.
    ///
    /// # Errors
    /// When it can't be issued.
    pub fn issue(ca: &Ca, controller_id: &str, now: SystemTime) -> Result<Arc<Self>, TlsError> {
        let name = PeerName::new(ca.cluster_id(), Role::Controller, controller_id);
        let current = RwLock::new(issue(ca, &name, now)?);
        Ok(Arc::new(Self { name, current }))
    }

    /// Replaces the certificate if half its life is over; new handshakes use
    /// the new one. Also when the clock was set back to before its issue.
    ///
    /// # Errors
    /// When it can't be issued; the old one stays.
    pub fn renew_if_due(&self, ca: &Ca, now: SystemTime) -> Result<bool, TlsError> {
        let renew_at = self.current.read().unwrap_or_else(PoisonError::into_inner).renew_at;
        let early = renew_at.checked_sub(crate::ca::LEAF_LIFE).is_some_and(|earliest| now < earliest);
        if now < renew_at && !early {
            return Ok(false);
        }
        let next = issue(ca, &self.name, now)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(true)
    }

    /// What is shown to peers now.
    #[must_use]
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).key)
    }
}

fn issue(ca: &Ca, name: &PeerName, now: SystemTime) -> Result<Current, TlsError> {
    let keyed = ca.issue_with_key(name, now)?;
    let key = rustls::crypto::ring::sign::any_ecdsa_type(&keyed.key)?;
    let renew_at = keyed.issued.renew_at;
    Ok(Current { key: Arc::new(CertifiedKey::new(keyed.issued.chain, key)), renew_at })
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Renews the controller's certificate and the administrator's bundle for as
/// long as it is polled. A failure is logged and tried again.
pub async fn keep_fresh(own: Arc<OwnCertificate>, ca: Ca, admin_dir: Option<PathBuf>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let now = SystemTime::now();
        match own.renew_if_due(&ca, now) {
            Ok(true) => tracing::info!("renewed the controller's certificate"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "could not renew the controller's certificate"),
        }
        let Some(dir) = admin_dir.clone() else { continue };
        let ca = ca.clone();
        let bundle = tokio::task::spawn_blocking(move || ca.ensure_admin_bundle(&dir, now)).await;
        if let Ok(Err(error)) = bundle {
            tracing::error!(%error, "could not renew the administrator's certificate");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_replaced_at_half_life_and_not_before() {
        let scratch = tempfile::tempdir().unwrap();
        let ca = Ca::open_or_create(scratch.path()).unwrap();
        let now = SystemTime::now();
        let own = OwnCertificate::issue(&ca, "1", now).unwrap();
        let first = own.certified();
        assert!(!own.renew_if_due(&ca, now + Duration::from_secs(11 * 3600)).unwrap());
        assert_eq!(own.certified().cert, first.cert);
        assert!(own.renew_if_due(&ca, now + Duration::from_secs(12 * 3600)).unwrap());
        assert_ne!(own.certified().cert, first.cert);
        let second = own.certified();
        assert!(own.renew_if_due(&ca, now - Duration::from_secs(24 * 3600)).unwrap());
        assert_ne!(own.certified().cert, second.cert);
    }
}
