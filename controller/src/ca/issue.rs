//! Issuing leaf certificates: what stands in them is decided here and never
//! taken from a request, of which only the public key is used.

use std::time::{Duration, SystemTime};

use rcgen::{
    Certificate, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Ca, CaError, PeerName, Role};

/// How long a leaf is valid.
pub const LEAF_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How far a leaf is back-dated, for hosts whose clocks are behind.
pub const BACK_DATED: Duration = Duration::from_secs(5 * 60);

/// A leaf certificate with its chain.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Leaf first, root last.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf as text.
    pub leaf_pem: String,
    /// When the leaf ends.
    pub not_after: SystemTime,
    /// When its holder should ask for the next one: half its life is over.
    pub renew_at: SystemTime,
}

/// A leaf certificate together with the key that was made for it.
#[derive(Debug)]
pub struct Keyed {
    /// The certificate.
    pub issued: Issued,
    /// Its private key (PKCS#8).
    pub key: PrivateKeyDer<'static>,
}

/// A signing request whose signature was verified: its sender holds the key.
#[derive(Debug)]
pub struct VerifiedRequest(CertificateSigningRequestParams);

impl VerifiedRequest {
    /// Parses a request and checks that its sender holds the private key.
    ///
    /// # Errors
    /// When it does not parse, its signature is wrong, or its key is not of a
    /// kind the cluster uses (ECDSA P-256).
    pub fn from_der(der: &[u8]) -> Result<Self, CaError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
            .map_err(CaError::Request)?;
        if request.public_key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(CaError::KeyKind);
        }
        Ok(Self(request))
    }
}

impl Ca {
    /// Issues a certificate for the key of a request.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue(
        &self,
        name: &PeerName,
        request: VerifiedRequest,
        now: SystemTime,
    ) -> Result<Issued, CaError> {
        let (params, not_after) = leaf(name, now)?;
        let VerifiedRequest(mut request) = request;
        request.params = params;
        let certificate = request.signed_by(self.issuer()).map_err(CaError::Sign)?;
        Ok(self.issued(&certificate, now, not_after))
    }

    /// Makes a key and issues a certificate for it.
    ///
    /// # Errors
    /// When there are no random numbers or signing fails.
    pub fn issue_with_key(&self, name: &PeerName, now: SystemTime) -> Result<Keyed, CaError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(CaError::Key)?;
        let issued = self.issue_for_key(name, &key, now)?;
        Ok(Keyed { issued, key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())) })
    }

    /// Issues a certificate for a key at hand.
    ///
    /// # Errors
    /// When signing fails.
    pub(super) fn issue_for_key(
        &self,
        name: &PeerName,
        key: &KeyPair,
        now: SystemTime,
    ) -> Result<Issued, CaError> {
        let (params, not_after) = leaf(name, now)?;
        let certificate = params.signed_by(key, self.issuer()).map_err(CaError::Sign)?;
        Ok(self.issued(&certificate, now, not_after))
    }

    fn issued(&self, leaf: &Certificate, now: SystemTime, not_after: SystemTime) -> Issued {
        let chain = vec![leaf.der().clone(), self.root_der().clone()];
        Issued { chain, leaf_pem: leaf.pem(), not_after, renew_at: now + LEAF_LIFE / 2 }
    }
}

fn leaf(name: &PeerName, now: SystemTime) -> Result<(CertificateParams, SystemTime), CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, name.cluster.as_str());
    params.distinguished_name.push(DnType::OrganizationalUnitName, name.role.to_string());
    params.distinguished_name.push(DnType::CommonName, name.id.as_str());
    let uri = name.to_string().try_into().map_err(CaError::Name)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    if let Some(dns_name) = name.role.dns_name() {
        let dns_name = dns_name.try_into().map_err(CaError::Name)?;
        params.subject_alt_names.push(SanType::DnsName(dns_name));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match name.role {
        Role::User => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Role::Controller | Role::Node => {
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth]
        }
    };
    let not_after = now + LEAF_LIFE;
    super::set_validity(&mut params, now - BACK_DATED, not_after)?;
    Ok((params, not_after))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    use super::*;

    fn csr(subject: &str) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![subject.to_owned()]).unwrap();
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_come_from_the_cluster_and_never_from_the_request() {
        let scratch = tempfile::tempdir().unwrap();
        let ca = Ca::open_or_create(scratch.path()).unwrap();
        let name = PeerName::new(ca.cluster_id(), Role::Node, "n1");
        let now = SystemTime::now();
        let request = VerifiedRequest::from_der(&csr("controller.roadstead")).unwrap();
        let issued = ca.issue(&name, request, now).unwrap();
        let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
        let (_, root) = X509Certificate::from_der(&issued.chain[1]).unwrap();
        leaf.verify_signature(Some(root.public_key())).unwrap();
        assert!(!leaf.is_ca());
        let names: Vec<String> = leaf
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, [format!("URI({name})"), "DNSName(node.roadstead)".to_owned()]);
        let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
        assert_eq!(life, 24 * 3600 + 300);
    }

    #[test]
    fn a_request_with_a_wrong_signature_is_refused() {
        let mut der = csr("x");
        let last = der.len() - 1;
        der[last] ^= 1;
        assert!(VerifiedRequest::from_der(&der).is_err());
        assert!(VerifiedRequest::from_der(b"").is_err());
    }
}
