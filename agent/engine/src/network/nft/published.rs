//! Published ports as packet filter objects: which chains must change, and the messages that change them.
//!
//! Each port has a chain of its own with one rule. The rule carries a digest of its targets as its comment, so a
//! restarted agent knows from one listing which ports are as they should be and touches only the others.

use std::{collections::BTreeMap, fmt::Write as _, net::Ipv4Addr};

use sha2::{Digest, Sha256};

use super::{
    base::PORTS,
    batch::{Batch, MapShape},
    expression::{Expressions, goto_element, key_element, port_key, target_element},
};
use crate::network::port::{PortKey, Protocol};

/// Address and port of what answers a published port.
pub(super) type Target = (Ipv4Addr, u16);

/// What is known of the targets of each port that the kernel has.
pub(super) type Applied = BTreeMap<PortKey, Known>;

/// Targets as far as they are known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// This agent wrote them.
    Targets(Vec<Target>),
    /// An agent before this one wrote them, and this digest with them.
    Digest(String),
}

impl Known {
    fn is(&self, targets: &[Target]) -> bool {
        match self {
            Self::Targets(known) => known == targets,
            Self::Digest(known) => *known == digest(targets),
        }
    }
}

/// nft's number for an integer, and for address and port in a concatenation.
const INTEGER: u32 = 4;
const ADDRESS_THEN_PORT: u32 = (7 << 6) | 13;
const COMMENT: &str = "targets ";

/// One port that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// Make the port's chain, or replace its targets.
    Set(PortKey, &'a [Target]),
    /// Remove the port's chain.
    Remove(PortKey),
}

/// The ports this agent wrote, with their targets.
pub(super) fn written(applied: &Applied) -> BTreeMap<PortKey, Vec<Target>> {
    let targets = |known: &Known| match known {
        Known::Targets(targets) => Some(targets.clone()),
        Known::Digest(_) => None,
    };
    applied.iter().filter_map(|(key, known)| Some((*key, targets(known)?))).collect()
}

/// The port a change is about.
pub(super) fn key(change: &Change<'_>) -> PortKey {
    match change {
        Change::Set(key, _) | Change::Remove(key) => *key,
    }
}

/// What separates the kernel's state from the wanted one. Ports without targets have no chain.
pub(super) fn changes<'a>(applied: &Applied, wanted: &'a BTreeMap<PortKey, Vec<Target>>) -> Vec<Change<'a>> {
    let served = |key: &PortKey| wanted.get(key).is_some_and(|targets| !targets.is_empty());
    let gone = applied.keys().filter(|key| !served(key)).map(|key| Change::Remove(*key));
    let set = wanted
        .iter()
        .filter(|(key, targets)| {
            !targets.is_empty() && !applied.get(key).is_some_and(|known| known.is(targets))
        })
        .map(|(key, targets)| Change::Set(*key, targets));
    gone.chain(set).collect()
}

/// Adds the messages that make the change.
pub(super) fn write(batch: &mut Batch, change: &Change<'_>) {
    match change {
        Change::Set(key, targets) => set(batch, *key, targets),
        Change::Remove(key) => {
            batch.delete_elements(PORTS, &[key_element(&port_key(key.0.number(), key.1))]);
            let chain = chain_name(*key);
            batch.flush_chain(&chain);
            batch.delete_chain(&chain);
        }
    }
}

fn set(batch: &mut Batch, key: PortKey, targets: &[Target]) {
    let chain = chain_name(key);
    batch.add_chain(&chain, None);
    batch.flush_chain(&chain);
    let shape = MapShape { key_type: INTEGER, key_length: 4, data: Some((ADDRESS_THEN_PORT, 8)) };
    let elements: Vec<_> = (0u32..)
        .zip(targets)
        .map(|(number, (address, port))| target_element(number, *address, *port))
        .collect();
    // A host cannot run four thousand million targets of one port.
    let count = u32::try_from(elements.len()).unwrap_or(u32::MAX);
    let map = batch.add_anonymous_map(shape, &elements);
    let rule = Expressions::default().translate_in_turn(count, map);
    batch.add_rule(&chain, &rule, Some(&format!("{COMMENT}{}", digest(targets))));
    batch.add_elements(PORTS, &[goto_element(&port_key(key.0.number(), key.1), &chain)]);
}

/// Name of a port's chain, for example `tcp-8080`.
fn chain_name((protocol, port): PortKey) -> String {
    format!("{protocol}-{port}")
}

/// What a rule read back from the kernel says of a published port; `None` for rules that are not of one.
pub(super) fn read_back(chain: &str, comment: Option<&str>) -> Option<(PortKey, Known)> {
    let (protocol, port) = chain.split_once('-')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    // A rule without our comment gets a digest that equals none, and so is replaced.
    let digest = comment.and_then(|comment| comment.strip_prefix(COMMENT)).unwrap_or_default();
    Some(((protocol, port.parse().ok()?), Known::Digest(digest.to_owned())))
}

/// Sixteen hex digits that differ when the targets differ.
fn digest(targets: &[Target]) -> String {
    let mut text = String::new();
    for (address, port) in targets {
        // Writing to a String cannot fail.
        let _ = write!(text, "{address}:{port} ");
    }
    hex::encode(Sha256::digest(text.as_bytes()).get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: PortKey = (Protocol::Tcp, 8080);
    const DNS: PortKey = (Protocol::Udp, 53);

    fn target(last: u8) -> Target {
        (Ipv4Addr::new(10, 213, 0, last), 80)
    }

    #[test]
    fn only_ports_that_differ_change() {
        let applied = Applied::from([
            (WEB, Known::Digest(digest(&[target(2)]))),
            (DNS, Known::Targets(vec![target(3)])),
        ]);
        let wanted = BTreeMap::from([(WEB, vec![target(2)]), (DNS, vec![target(3), target(4)])]);
        assert_eq!(changes(&applied, &wanted), [Change::Set(DNS, &[target(3), target(4)])]);
    }

    #[test]
    fn a_port_without_targets_loses_its_chain_once() {
        let applied = Applied::from([(WEB, Known::Targets(vec![target(2)]))]);
        let wanted = BTreeMap::from([(WEB, vec![]), (DNS, vec![])]);
        assert_eq!(changes(&applied, &wanted), [Change::Remove(WEB)]);
        assert_eq!(changes(&Applied::new(), &wanted), []);
    }

    #[test]
    fn a_rule_is_recognised_by_its_chain_and_comment() {
        let comment = format!("targets {}", digest(&[target(2)]));
        assert_eq!(read_back("tcp-8080", Some(&comment)), Some((WEB, Known::Digest(digest(&[target(2)])))));
        assert_eq!(read_back("udp-53", None), Some((DNS, Known::Digest(String::new()))));
        assert_eq!(read_back("prerouting", None), None);
        assert_eq!(read_back("tcp-99999", None), None);
    }
}
