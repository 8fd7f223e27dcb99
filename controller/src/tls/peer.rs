//! Who is at the other end of a connection, as its verified certificate says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::ca::{self, PeerName};

/// A member of the cluster that proved it holds its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPeer {
    /// Who.
    pub name: PeerName,
    /// When the certificate ends; long connections outlive it.
    pub not_after: SystemTime,
}

impl VerifiedPeer {
    /// Reads the name out of a leaf whose chain rustls has verified.
    ///
    /// # Errors
    /// Says why the certificate names no member of the cluster.
    pub fn from_leaf(leaf: &CertificateDer<'_>, cluster_id: &str) -> Result<Self, String> {
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
        let uri = ca::san_uri(&leaf).ok_or("it has not exactly one SAN URI")?;
        let name = PeerName::parse(uri).map_err(|error| error.to_string())?;
        if name.cluster != cluster_id {
            return Err(format!("{name} is of another cluster"));
        }
        let not_after = ca::not_after(&leaf).ok_or("it has no end")?;
        Ok(Self { name, not_after })
    }
}

/// What every request carries in its extensions about its connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// Nothing when no client certificate was shown.
    pub verified: Option<Arc<VerifiedPeer>>,
}
