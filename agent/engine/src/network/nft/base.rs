//! The rules that do not depend on what is published: written whole, in one transaction, each time an agent opens
//! the network, so that an upgraded agent brings its own. Nothing that is published is touched by it.
//!
//! As `nft list table` shows it (bridge `roadstead0`, subnet 10.213.0.0/16):
//!
//! ```text
//! map ports { type inet_proto . inet_service : verdict; elements = { tcp . 8080 : goto tcp-8080 } }
//! chain raw         { iifname roadstead0 ip daddr 127.0.0.0/8 drop
//!                     iifname != roadstead0 iifname != lo ip daddr 10.213.0.0/16 drop }
//! chain prerouting  { ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto . th dport vmap @ports }
//! chain output      { fib daddr type local meta l4proto . th dport vmap @ports }
//! chain postrouting { ip saddr 10.213.0.0/16 oifname != roadstead0 oifname != lo masquerade
//!                     ip saddr 127.0.0.0/8 oifname roadstead0 masquerade
//!                     ip saddr 10.213.0.0/16 oifname roadstead0 ct status dnat masquerade }
//! chain forward     { iifname roadstead0 accept
//!                     oifname roadstead0 ct state established,related accept
//!                     oifname roadstead0 ct status dnat accept
//!                     oifname roadstead0 drop }
//! chain tcp-8080    { dnat ip addr . port to numgen inc mod 2 map { 0 : 10.213.0.2 . 80, 1 : 10.213.0.3 . 80 } }
//! ```

use std::net::Ipv4Addr;

use super::{
    batch::{Batch, Hook, MapShape},
    expression::{
        Address::{Destination, Source},
        Expressions,
        Interface::{In, Out},
        Is::{Equal, NotEqual},
    },
};
use crate::network::subnet::Subnet;

/// Name of the verdict map from protocol and port to the chain of a published port.
pub(super) const PORTS: &str = "ports";

/// Name of a chain that always has rules.
pub(super) const NEVER_EMPTY: &str = "raw";

/// nft's numbers for the types of a concatenation, six bits each.
const PROTOCOL_THEN_PORT: u32 = (12 << 6) | 13;

const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 0);
const LOOPBACK_MASK: Ipv4Addr = Ipv4Addr::new(255, 0, 0, 0);

const HOOKS: [(&str, Hook); 5] = [
    ("raw", Hook { kind: "filter", number: 0, priority: -300 }),
    ("prerouting", Hook { kind: "nat", number: 0, priority: -100 }),
    ("output", Hook { kind: "nat", number: 3, priority: -100 }),
    ("postrouting", Hook { kind: "nat", number: 4, priority: 100 }),
    ("forward", Hook { kind: "filter", number: 2, priority: 0 }),
];

/// Makes the table, its map and its base chains, and replaces the rules of the base chains.
pub(super) fn write(batch: &mut Batch, bridge: &str, subnet: Subnet) {
    batch.add_table();
    batch.add_map(PORTS, MapShape { key_type: PROTOCOL_THEN_PORT, key_length: 8, data: None });
    for (name, hook) in HOOKS {
        batch.add_chain(name, Some(hook));
        batch.flush_chain(name);
    }
    let rule = Expressions::default;
    let (network, mask) = (subnet.network(), subnet.mask());
    let rules = [
        // A container must not reach what listens on the host's loopback, nor the world a container directly.
        (
            "raw",
            rule().interface(In, Equal, bridge).address(Destination, Equal, LOOPBACK, LOOPBACK_MASK).drop(),
        ),
        (
            "raw",
            rule()
                .interface(In, NotEqual, bridge)
                .interface(In, NotEqual, "lo")
                .address(Destination, Equal, network, mask)
                .drop(),
        ),
        (
            "prerouting",
            rule()
                .address(Destination, NotEqual, LOOPBACK, LOOPBACK_MASK)
                .destination_is_local()
                .dispatch_by_port(PORTS),
        ),
        ("output", rule().destination_is_local().dispatch_by_port(PORTS)),
        (
            "postrouting",
            rule()
                .address(Source, Equal, network, mask)
                .interface(Out, NotEqual, bridge)
                .interface(Out, NotEqual, "lo")
                .masquerade(),
        ),
        (
            "postrouting",
            rule().address(Source, Equal, LOOPBACK, LOOPBACK_MASK).interface(Out, Equal, bridge).masquerade(),
        ),
        // A task that reaches its own published port: without this its answer would not pass through the host.
        (
            "postrouting",
            rule()
                .address(Source, Equal, network, mask)
                .interface(Out, Equal, bridge)
                .was_translated()
                .masquerade(),
        ),
        ("forward", rule().interface(In, Equal, bridge).accept()),
        ("forward", rule().interface(Out, Equal, bridge).established().accept()),
        ("forward", rule().interface(Out, Equal, bridge).was_translated().accept()),
        ("forward", rule().interface(Out, Equal, bridge).drop()),
    ];
    for (chain, rule) in rules {
        batch.add_rule(chain, &rule, None);
    }
}
