//! The few nf_tables expressions our rules are made of.
//!
//! A rule is a list of expressions that run left to right over sixteen 4-byte registers; a comparison that fails
//! ends the rule. Values on registers are bytes as in the packet; numbers the kernel computes are in host order.

use std::net::Ipv4Addr;

use super::{
    attribute::Attributes,
    batch::{ANONYMOUS_MAP, Element},
};

/// The first two 4-byte registers; a concatenation lies across both.
const REGISTER: u32 = 8;
const NEXT_REGISTER: u32 = 9;
const VERDICT_REGISTER: u32 = 0;
const VERDICT_DROP: i32 = 0;
const VERDICT_ACCEPT: i32 = 1;
const VERDICT_GOTO: i32 = -4;
const ROUTE_LOCAL: u32 = 2;
const STATUS_DESTINATION_TRANSLATED: u32 = 1 << 5;
const STATE_ESTABLISHED_OR_RELATED: u32 = (1 << 1) | (1 << 2);

/// Which address of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Address {
    Source,
    Destination,
}

/// Which interface of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Interface {
    In,
    Out,
}

/// A comparison.
#[derive(Debug, Clone, Copy)]
pub(super) enum Is {
    Equal,
    NotEqual,
}

/// The expressions of one rule.
#[derive(Debug, Default, Clone)]
pub(super) struct Expressions(Attributes);

impl Expressions {
    pub(super) fn as_attributes(&self) -> &Attributes {
        &self.0
    }

    /// The packet comes in or leaves by this interface, or does not.
    pub(super) fn interface(self, which: Interface, is: Is, name: &str) -> Self {
        let key = match which {
            Interface::In => 6,
            Interface::Out => 7,
        };
        // Names are compared as the kernel keeps them: 16 bytes, padded with NUL.
        let mut padded = [0u8; 16];
        for (to, from) in padded.iter_mut().zip(name.bytes().take(15)) {
            *to = from;
        }
        // The 16-byte name starts at the register that is also the first 4-byte one.
        self.meta(key).compare(is, &padded)
    }

    /// The address lies in the range, or does not.
    pub(super) fn address(self, which: Address, is: Is, network: Ipv4Addr, mask: Ipv4Addr) -> Self {
        let offset = match which {
            Address::Source => 12,
            Address::Destination => 16,
        };
        let payload = Attributes::default().number(1, REGISTER).number(2, 1).number(3, offset).number(4, 4);
        let mask_data = Attributes::default().bytes(1, &mask.octets());
        let zero = Attributes::default().bytes(1, &[0; 4]);
        let bitwise = Attributes::default()
            .number(1, REGISTER)
            .number(2, REGISTER)
            .number(3, 4)
            .nest(4, &mask_data)
            .nest(5, &zero);
        self.add("payload", &payload).add("bitwise", &bitwise).compare(is, &network.octets())
    }

    /// The destination is an address of this host.
    pub(super) fn destination_is_local(self) -> Self {
        let fib = Attributes::default().number(1, REGISTER).number(2, 3).number(3, 2);
        self.add("fib", &fib).compare(Is::Equal, &ROUTE_LOCAL.to_ne_bytes())
    }

    /// The connection's destination was translated (here: it came through a published port).
    pub(super) fn was_translated(self) -> Self {
        self.connection(2, STATUS_DESTINATION_TRANSLATED)
    }

    /// The packet belongs to a connection that was allowed before.
    pub(super) fn established(self) -> Self {
        self.connection(0, STATE_ESTABLISHED_OR_RELATED)
    }

    /// Goes to the chain that the verdict map has for protocol and destination port, if it has one.
    pub(super) fn dispatch_by_port(self, map: &str) -> Self {
        let port = Attributes::default().number(1, NEXT_REGISTER).number(2, 2).number(3, 2).number(4, 2);
        let lookup = Attributes::default().text(1, map).number(2, REGISTER).number(3, VERDICT_REGISTER);
        self.meta(16).add("payload", &port).add("lookup", &lookup)
    }

    /// Translates the destination to the entries of the anonymous map in turn; `count` is at least 1.
    pub(super) fn translate_in_turn(self, count: u32, map_number: u32) -> Self {
        let number = Attributes::default().number(1, REGISTER).number(2, count).number(3, 0);
        let lookup = Attributes::default()
            .text(1, ANONYMOUS_MAP)
            .number(2, REGISTER)
            .number(3, REGISTER)
            .number(4, map_number);
        let nat =
            Attributes::default().number(1, 1).number(2, 2).number(3, REGISTER).number(5, NEXT_REGISTER);
        self.add("numgen", &number).add("lookup", &lookup).add("nat", &nat)
    }

    /// Gives the packet the address of the interface it leaves by.
    pub(super) fn masquerade(self) -> Self {
        self.add("masq", &Attributes::default())
    }

    pub(super) fn drop(self) -> Self {
        self.verdict(VERDICT_DROP)
    }

    pub(super) fn accept(self) -> Self {
        self.verdict(VERDICT_ACCEPT)
    }

    fn verdict(self, code: i32) -> Self {
        let verdict = Attributes::default().bytes(1, &code.to_be_bytes());
        let data = Attributes::default().nest(2, &verdict);
        self.add("immediate", &Attributes::default().number(1, VERDICT_REGISTER).nest(2, &data))
    }

    fn meta(self, key: u32) -> Self {
        self.add("meta", &Attributes::default().number(1, REGISTER).number(2, key))
    }

    /// Any of the bits is set in a word of the connection tracker.
    fn connection(self, key: u32, bits: u32) -> Self {
        let word = Attributes::default().number(1, REGISTER).number(2, key);
        let mask = Attributes::default().bytes(1, &bits.to_ne_bytes());
        let zero = Attributes::default().bytes(1, &[0; 4]);
        let bitwise = Attributes::default()
            .number(1, REGISTER)
            .number(2, REGISTER)
            .number(3, 4)
            .nest(4, &mask)
            .nest(5, &zero);
        self.add("ct", &word).add("bitwise", &bitwise).compare(Is::NotEqual, &[0; 4])
    }

    fn compare(self, is: Is, value: &[u8]) -> Self {
        let operator = match is {
            Is::Equal => 0,
            Is::NotEqual => 1,
        };
        let data = Attributes::default().bytes(1, value);
        self.add("cmp", &Attributes::default().number(1, REGISTER).number(2, operator).nest(3, &data))
    }

    fn add(self, name: &str, data: &Attributes) -> Self {
        let expression = Attributes::default().text(1, name).nest(2, data);
        Self(self.0.nest(1, &expression))
    }
}

/// Key of the dispatch map: protocol and port, each padded to four bytes.
pub(super) fn port_key(protocol: u8, port: u16) -> [u8; 8] {
    let [high, low] = port.to_be_bytes();
    [protocol, 0, 0, 0, high, low, 0, 0]
}

/// An element of a verdict map: go to the chain.
pub(super) fn goto_element(key: &[u8], chain: &str) -> Element {
    let verdict = Attributes::default().bytes(1, &VERDICT_GOTO.to_be_bytes()).text(2, chain);
    let data = Attributes::default().nest(2, &verdict);
    key_element(key).nest(2, &data)
}

/// An element named by its key only, for removal.
pub(super) fn key_element(key: &[u8]) -> Element {
    Attributes::default().nest(1, &Attributes::default().bytes(1, key))
}

/// An element of an anonymous map: the address and port of the target with this number.
pub(super) fn target_element(number: u32, address: Ipv4Addr, port: u16) -> Element {
    let [high, low] = port.to_be_bytes();
    let [a, b, c, d] = address.octets();
    let data = Attributes::default().bytes(1, &[a, b, c, d, high, low, 0, 0]);
    key_element(&number.to_ne_bytes()).nest(2, &data)
}
