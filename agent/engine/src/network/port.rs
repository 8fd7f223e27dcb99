//! Published ports: what to publish, and holding the port on the host so that a conflict is found.
//!
//! A held port is a bound socket that never listens: translation happens in the kernel before any socket sees a
//! packet, so the socket carries no traffic; it only makes `bind` fail for everybody else, as a proxy would.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt},
};
use serde::{Deserialize, Serialize};

use super::error::NetworkError;

/// Transport protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The number in the IP header.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One port of the host and the container addresses that answer it, in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The port on the host, on each of its addresses.
    pub port: u16,
    /// Address and port of each container that answers. While empty the port is held and connections are refused.
    pub targets: Vec<(Ipv4Addr, u16)>,
}

/// What identifies a published port on one host.
pub(super) type PortKey = (Protocol, u16);

/// The targets of each port, entries for the same port merged, duplicates removed, in a stable order.
pub(super) fn merge(ports: Vec<PublishedPort>) -> BTreeMap<PortKey, Vec<(Ipv4Addr, u16)>> {
    let mut merged: BTreeMap<PortKey, Vec<(Ipv4Addr, u16)>> = BTreeMap::new();
    for port in ports {
        merged.entry((port.protocol, port.port)).or_default().extend(port.targets);
    }
    for targets in merged.values_mut() {
        targets.sort_unstable();
        targets.dedup();
    }
    merged
}

/// Binds the port on every address of the host without listening. Dropping the descriptor gives it back.
///
/// # Errors
/// [`NetworkError::PortInUse`] when any other socket has it, [`NetworkError::PortHold`] for anything else.
pub(super) fn hold(protocol: Protocol, port: u16) -> Result<OwnedFd, NetworkError> {
    let failed = |errno: Errno| match errno {
        Errno::ADDRINUSE => NetworkError::PortInUse { protocol, port },
        errno => NetworkError::PortHold { protocol, port, source: errno.into() },
    };
    // Port 0 would bind some free port and prove nothing.
    if port == 0 {
        return Err(failed(Errno::INVAL));
    }
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None).map_err(failed)?;
    // No SO_REUSEADDR: with it a server that sets it too could bind beside a socket that does not listen.
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).map_err(failed)?;
    // Datagrams can arrive here while there are no targets; nobody reads them, so keep next to none.
    sockopt::set_socket_recv_buffer_size(&socket, 1).map_err(failed)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_port_are_merged_and_duplicates_removed() {
        let a = (Ipv4Addr::new(10, 0, 0, 2), 80);
        let b = (Ipv4Addr::new(10, 0, 0, 3), 80);
        let port = |targets| PublishedPort { protocol: Protocol::Tcp, port: 8080, targets };
        let merged = merge(vec![port(vec![b, a]), port(vec![a])]);
        assert_eq!(merged, BTreeMap::from([((Protocol::Tcp, 8080), vec![a, b])]));
    }

    #[test]
    fn a_held_port_is_in_use_for_everyone_until_it_is_dropped() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = hold(Protocol::Tcp, port).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("port {port}/tcp is already in use on this host by another process")
        );
        drop(listener);
        let held = hold(Protocol::Tcp, port).unwrap();
        assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_err());
        drop(held);
        assert!(hold(Protocol::Tcp, port).is_ok());
    }

    #[test]
    fn port_zero_is_refused() {
        assert!(matches!(hold(Protocol::Udp, 0), Err(NetworkError::PortHold { port: 0, .. })));
    }
}
