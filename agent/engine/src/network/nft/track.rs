//! Makes connection tracking forget UDP flows whose translation is out of date.
//!
//! The kernel decides about translation at the first packet of a flow and remembers it for as long as packets come.
//! A TCP client of a target that is gone gets an error and connects anew; a UDP client that keeps its port would talk
//! to nobody for ever, be it a target that left or the host from before the port was published.

use std::net::Ipv4Addr;

use super::{
    attribute::Attributes,
    published::{Change, Known, Target},
};
use crate::network::port::{PortKey, Protocol};

const UDP: u8 = 17;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const FILTER: u16 = 25;
const BY_SOURCE: u32 = 1 << 0;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_SOURCE_PORT: u32 = 1 << 4;
const BY_DESTINATION_PORT: u32 = 1 << 5;

/// UDP flows to forget.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stale {
    /// All that were sent to this port, of the host as of others.
    Port(u16),
    /// All that are answered by this target.
    Target(Target),
}

/// What a change makes stale, given what was known of the port before it.
pub(super) fn stale(before: Option<&Known>, change: &Change<'_>) -> Vec<Stale> {
    let (key, now): (&PortKey, &[Target]) = match change {
        Change::Set(key, targets) => (key, targets),
        Change::Remove(key) => (key, &[]),
    };
    match (key, before) {
        ((Protocol::Tcp, _), _) => Vec::new(),
        (_, Some(Known::Targets(before))) => before
            .iter()
            .filter(|target| !now.contains(target))
            .map(|target| Stale::Target(*target))
            .collect(),
        ((Protocol::Udp, port), _) => vec![Stale::Port(*port)],
    }
}

impl Stale {
    /// The attributes of the request to delete these flows.
    pub(super) fn attributes(&self) -> Attributes {
        let protocol = Attributes::default().bytes(1, &[UDP]);
        match self {
            Self::Port(port) => {
                let protocol = protocol.bytes(3, &port.to_be_bytes());
                // The kernel wants an address in every tuple, used or not.
                let tuple = tuple(Ipv4Addr::UNSPECIFIED, &protocol);
                let flags = filter(1, BY_PROTOCOL | BY_DESTINATION_PORT);
                Attributes::default().nest(TUPLE_ORIGINAL, &tuple).nest(FILTER, &flags)
            }
            Self::Target((address, port)) => {
                let protocol = protocol.bytes(2, &port.to_be_bytes());
                let tuple = tuple(*address, &protocol);
                let flags = filter(2, BY_SOURCE | BY_PROTOCOL | BY_SOURCE_PORT);
                Attributes::default().nest(TUPLE_REPLY, &tuple).nest(FILTER, &flags)
            }
        }
    }
}

fn tuple(source: Ipv4Addr, protocol: &Attributes) -> Attributes {
    let addresses = Attributes::default().bytes(1, &source.octets()).bytes(2, &[0; 4]);
    Attributes::default().nest(1, &addresses).nest(2, protocol)
}

/// Which fields of a tuple count; these flags, unlike other numbers, are in host order.
fn filter(direction: u16, flags: u32) -> Attributes {
    Attributes::default().bytes(direction, &flags.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DNS: PortKey = (Protocol::Udp, 53);

    fn target(last: u8) -> Target {
        (Ipv4Addr::new(10, 213, 0, last), 5353)
    }

    #[test]
    fn flows_of_targets_that_left_are_stale_and_no_others() {
        let before = Known::Targets(vec![target(2), target(3)]);
        let now = [target(3), target(4)];
        assert_eq!(stale(Some(&before), &Change::Set(DNS, &now)), [Stale::Target(target(2))]);
        assert_eq!(stale(Some(&before), &Change::Remove(DNS)).len(), 2);
    }

    #[test]
    fn flows_from_before_the_port_was_published_are_stale() {
        assert_eq!(stale(None, &Change::Set(DNS, &[target(2)])), [Stale::Port(53)]);
        let adopted = Known::Digest("ab".into());
        assert_eq!(stale(Some(&adopted), &Change::Remove(DNS)), [Stale::Port(53)]);
    }

    #[test]
    fn tcp_clients_find_out_by_themselves() {
        assert_eq!(stale(None, &Change::Set((Protocol::Tcp, 53), &[target(2)])), []);
    }
}
