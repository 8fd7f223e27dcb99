//! Who a certificate belongs to, as its SAN URI says:
//! `spiffe://<cluster>/<role>/<id>`. Parsing is strict, because whole decisions
//! about access rest on the result.

use std::fmt;

/// Longest cluster or member id that is accepted, in bytes.
const MAX_PART: usize = 64;

/// What the holder of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A controller of the cluster.
    Controller,
    /// An agent.
    Node,
    /// A person or a program that acts for one.
    User,
}

impl Role {
    /// The DNS name in the certificates of this role, which clients verify
    /// instead of an address. Users serve nothing and have none.
    #[must_use]
    pub fn dns_name(self) -> Option<&'static str> {
        match self {
            Self::Controller => Some("controller.roadstead"),
            Self::Node => Some("node.roadstead"),
            Self::User => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Controller => "controller",
            Self::Node => "node",
            Self::User => "user",
        })
    }
}

/// A verified member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName {
    /// Id of the cluster that issued the certificate.
    pub cluster: String,
    /// What the member is.
    pub role: Role,
    /// Node id, controller id or user name.
    pub id: String,
}

/// A URI that names no member of any cluster.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{uri:?} is not spiffe://<cluster>/<controller|node|user>/<id>")]
pub struct PeerNameError {
    uri: String,
}

impl PeerName {
    /// Names a member.
    #[must_use]
    pub fn new(cluster: &str, role: Role, id: &str) -> Self {
        Self { cluster: cluster.to_owned(), role, id: id.to_owned() }
    }

    /// Parses a SAN URI.
    ///
    /// # Errors
    /// When it is not exactly of the form above, or an id has characters other
    /// than a-z, 0-9, `.`, `_` and `-`.
    pub fn parse(uri: &str) -> Result<Self, PeerNameError> {
        let refuse = || PeerNameError { uri: uri.chars().take(256).collect() };
        let rest = uri.strip_prefix("spiffe://").ok_or_else(refuse)?;
        let mut parts = rest.split('/');
        let (Some(cluster), Some(role), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse());
        };
        let role = match role {
            "controller" => Role::Controller,
            "node" => Role::Node,
            "user" => Role::User,
            _ => return Err(refuse()),
        };
        if !(plain(cluster) && plain(id)) {
            return Err(refuse());
        }
        Ok(Self::new(cluster, role, id))
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "spiffe://{}/{}/{}", self.cluster, self.role, self.id)
    }
}

fn plain(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= MAX_PART
        && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_round_trip() {
        for role in [Role::Controller, Role::Node, Role::User] {
            let name = PeerName::new("c0ffee", role, "n1");
            assert_eq!(PeerName::parse(&name.to_string()), Ok(name));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for uri in [
            "",
            "https://c/node/n",
            "spiffe://c/node",
            "spiffe://c/node/",
            "spiffe:///node/n",
            "spiffe://c/root/n",
            "spiffe://c/node/n/x",
            "spiffe://c/node/N",
            "spiffe://c/node/n?x",
            "spiffe://c/user/adm\u{0}in",
        ] {
            assert!(PeerName::parse(uri).is_err(), "{uri:?} was accepted");
        }
    }
}
