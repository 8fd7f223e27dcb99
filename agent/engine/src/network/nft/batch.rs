//! One nf_tables transaction as bytes: begin, messages in order, end. The kernel applies all of it or nothing.

use super::{attribute::Attributes, expression::Expressions};

const SUBSYSTEM: u16 = 10;
/// `IPCTNL_MSG_CT_DELETE` of the subsystem of connection tracking, which shares the socket.
const DELETE_FLOWS: u16 = (1 << 8) | 2;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const FAMILY_UNSPECIFIED: u8 = 0;
const FAMILY_IPV4: u8 = 2;
const FLAG_REQUEST: u16 = 0x1;
const FLAG_ACK: u16 = 0x4;
const FLAG_DUMP: u16 = 0x300;
const FLAG_CREATE: u16 = 0x400;
const FLAG_APPEND: u16 = 0x800;
const HEADER: usize = 16;
/// About 44 bytes each: far below the 64 KiB an attribute can hold.
const ELEMENTS_PER_MESSAGE: usize = 512;

/// What a message asks for (`NFT_MSG_*`).
#[derive(Clone, Copy)]
#[repr(u16)]
enum Message {
    NewTable = 0,
    DelTable = 2,
    NewChain = 3,
    DelChain = 5,
    NewRule = 6,
    GetRule = 7,
    DelRule = 8,
    NewSet = 9,
    NewSetElement = 12,
    DelSetElement = 14,
}

/// Where a base chain sees packets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    /// `NF_INET_*`.
    pub(super) number: u32,
    /// Order among the chains of the hook.
    pub(super) priority: i32,
}

/// A map as the kernel wants it described.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapShape {
    /// nft's number for the type of the key; only `nft list` reads it.
    pub(super) key_type: u32,
    /// Bytes of the key.
    pub(super) key_length: u32,
    /// nft's number for the type of the data, or `None` for a verdict map.
    pub(super) data: Option<(u32, u32)>,
}

/// One key and its data, already encoded as `NFTA_SET_ELEM_*`.
pub(super) type Element = Attributes;

/// A transaction being written.
#[derive(Debug)]
pub(super) struct Batch {
    table: String,
    bytes: Vec<u8>,
    first: u32,
    next: u32,
    last_at: usize,
    last_flags: u16,
    sets: u32,
}

impl Batch {
    /// Starts a transaction over one table. `first` is the sequence number of its first message.
    pub(super) fn new(table: &str, first: u32) -> Self {
        let table = table.to_owned();
        let mut batch =
            Self { table, bytes: Vec::new(), first, next: first, last_at: 0, last_flags: 0, sets: 0 };
        batch.raw(BATCH_BEGIN, FLAG_REQUEST, FAMILY_UNSPECIFIED, SUBSYSTEM, &[]);
        batch
    }

    /// Whether no message was added yet.
    pub(super) fn is_empty(&self) -> bool {
        self.last_at == 0
    }

    /// Ends the transaction: its bytes, the sequence number of its first message and that of the message whose
    /// acknowledgement ends the answer.
    pub(super) fn finish(mut self) -> (Vec<u8>, u32, u32) {
        let last = self.next.wrapping_sub(1);
        // Only the last message asks to be acknowledged; refusals are reported for each message anyway.
        let flags = self.last_flags | FLAG_ACK;
        if let Some(place) = self.bytes.get_mut(self.last_at + 6..self.last_at + 8) {
            place.copy_from_slice(&flags.to_ne_bytes());
        }
        self.raw(BATCH_END, FLAG_REQUEST, FAMILY_UNSPECIFIED, SUBSYSTEM, &[]);
        (self.bytes, self.first, last)
    }

    /// Makes the table unless it exists.
    pub(super) fn add_table(&mut self) {
        let attributes = Attributes::default().text(1, &self.table).number(2, 0);
        self.message(Message::NewTable, FLAG_CREATE, &attributes);
    }

    /// Removes the table with all it holds.
    pub(super) fn delete_table(&mut self) {
        self.message(Message::DelTable, 0, &Attributes::default().text(1, &self.table));
    }

    /// Makes a chain unless it exists; with a hook the kernel sends packets to it, and lets pass what it
    /// does not decide.
    pub(super) fn add_chain(&mut self, name: &str, hook: Option<Hook>) {
        let mut attributes = Attributes::default().text(1, &self.table).text(3, name);
        if let Some(hook) = hook {
            let place = Attributes::default().number(1, hook.number).bytes(2, &hook.priority.to_be_bytes());
            attributes = attributes.nest(4, &place).number(5, 1).text(7, hook.kind);
        }
        self.message(Message::NewChain, FLAG_CREATE, &attributes);
    }

    /// Removes an empty chain.
    pub(super) fn delete_chain(&mut self, name: &str) {
        let attributes = Attributes::default().text(1, &self.table).text(3, name);
        self.message(Message::DelChain, 0, &attributes);
    }

    /// Removes the rules of a chain.
    pub(super) fn flush_chain(&mut self, name: &str) {
        let attributes = Attributes::default().text(1, &self.table).text(2, name);
        self.message(Message::DelRule, 0, &attributes);
    }

    /// Appends a rule; the comment can be read back with [`list_rules`].
    pub(super) fn add_rule(&mut self, chain: &str, rule: &Expressions, comment: Option<&str>) {
        let mut attributes =
            Attributes::default().text(1, &self.table).text(2, chain).nest(4, rule.as_attributes());
        if let Some(comment) = comment {
            attributes = attributes.bytes(7, &encode_comment(comment));
        }
        self.message(Message::NewRule, FLAG_CREATE | FLAG_APPEND, &attributes);
    }

    /// Makes a named map unless it exists.
    pub(super) fn add_map(&mut self, name: &str, shape: MapShape) {
        self.new_set(name, 0x8, shape);
    }

    /// Makes a map that lives and dies with the rule that uses it; gives the number the rule refers to.
    pub(super) fn add_anonymous_map(&mut self, shape: MapShape, elements: &[Element]) -> u32 {
        let id = self.new_set(ANONYMOUS_MAP, 0x1 | 0x2 | 0x8, shape);
        self.elements(Message::NewSetElement, ANONYMOUS_MAP, Some(id), elements);
        id
    }

    /// Adds elements to a named map; one that is there with the same data is left alone.
    pub(super) fn add_elements(&mut self, map: &str, elements: &[Element]) {
        self.elements(Message::NewSetElement, map, None, elements);
    }

    /// Removes elements of a named map by key.
    pub(super) fn delete_elements(&mut self, map: &str, elements: &[Element]) {
        self.elements(Message::DelSetElement, map, None, elements);
    }

    fn new_set(&mut self, name: &str, flags: u32, shape: MapShape) -> u32 {
        self.sets += 1;
        let mut attributes = Attributes::default()
            .text(1, &self.table)
            .text(2, name)
            .number(3, flags)
            .number(4, shape.key_type)
            .number(5, shape.key_length)
            .number(10, self.sets);
        attributes = match shape.data {
            Some((kind, length)) => attributes.number(6, kind).number(7, length),
            None => attributes.number(6, VERDICT_TYPE),
        };
        self.message(Message::NewSet, FLAG_CREATE, &attributes);
        self.sets
    }

    fn elements(&mut self, message: Message, map: &str, id: Option<u32>, elements: &[Element]) {
        for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let list = some.iter().fold(Attributes::default(), |list, element| list.nest(1, element));
            let mut attributes = Attributes::default().text(1, &self.table).text(2, map).nest(3, &list);
            if let Some(id) = id {
                attributes = attributes.number(4, id);
            }
            let flags = if matches!(message, Message::NewSetElement) { FLAG_CREATE } else { 0 };
            self.message(message, flags, &attributes);
        }
    }

    fn message(&mut self, message: Message, flags: u16, attributes: &Attributes) {
        self.last_at = self.bytes.len();
        self.last_flags = FLAG_REQUEST | flags;
        let kind = (SUBSYSTEM << 8) | message as u16;
        self.raw(kind, self.last_flags, FAMILY_IPV4, 0, attributes.as_slice());
    }

    fn raw(&mut self, kind: u16, flags: u16, family: u8, resource: u16, payload: &[u8]) {
        write_message(&mut self.bytes, kind, flags, self.next, family, resource, payload);
        self.next = self.next.wrapping_add(1);
    }
}

/// Name by which a rule refers to the anonymous map made just before it, together with its number.
pub(super) const ANONYMOUS_MAP: &str = "__map%d";
/// The kernel's mark for maps whose data are verdicts.
const VERDICT_TYPE: u32 = 0xffff_ff00;

/// A request for the rules of a table, or of one chain of it.
pub(super) fn list_rules(table: &str, chain: Option<&str>, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut attributes = Attributes::default().text(1, table);
    if let Some(chain) = chain {
        attributes = attributes.text(2, chain);
    }
    let kind = (SUBSYSTEM << 8) | Message::GetRule as u16;
    let flags = FLAG_REQUEST | FLAG_DUMP;
    write_message(&mut bytes, kind, flags, sequence, FAMILY_IPV4, 0, attributes.as_slice());
    bytes
}

/// A request to connection tracking to delete flows.
pub(super) fn delete_flows(which: &Attributes, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let flags = FLAG_REQUEST | FLAG_ACK;
    write_message(&mut bytes, DELETE_FLOWS, flags, sequence, FAMILY_IPV4, 0, which.as_slice());
    bytes
}

fn write_message(
    to: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
    payload: &[u8],
) {
    // A message is bounded by the attributes it carries, far below 4 GiB.
    let length = u32::try_from(HEADER + 4 + payload.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_ne_bytes());
    to.extend_from_slice(&kind.to_ne_bytes());
    to.extend_from_slice(&flags.to_ne_bytes());
    to.extend_from_slice(&sequence.to_ne_bytes());
    to.extend_from_slice(&0u32.to_ne_bytes());
    to.extend_from_slice(&[family, 0]);
    to.extend_from_slice(&resource.to_be_bytes());
    to.extend_from_slice(payload);
}

/// A rule comment the way `nft` stores and shows it: kind 0, length, text with its NUL.
fn encode_comment(comment: &str) -> Vec<u8> {
    let text: Vec<u8> = comment.bytes().take(127).chain([0]).collect();
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[0, length], &text[..]].concat()
}

/// The comment in a rule's user data.
pub(super) fn decode_comment(data: &[u8]) -> Option<&str> {
    let [0, length, text @ ..] = data else { return None };
    super::attribute::text(text.get(..usize::from(*length))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_asks_for_one_acknowledgement_at_its_last_message() {
        let mut batch = Batch::new("t", 7);
        assert!(batch.is_empty());
        batch.add_table();
        batch.add_chain("c", None);
        assert!(!batch.is_empty());
        let (bytes, first, last) = batch.finish();
        assert_eq!((first, last), (7, 9));
        let mut rest = &bytes[..];
        let mut acknowledged = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap());
            let flags = u16::from_ne_bytes(rest[6..8].try_into().unwrap());
            acknowledged.push(flags & FLAG_ACK != 0);
            rest = &rest[length as usize..];
        }
        assert_eq!(acknowledged, [false, false, true, false]);
    }

    #[test]
    fn a_comment_is_read_back() {
        assert_eq!(decode_comment(&encode_comment("targets abc")), Some("targets abc"));
        assert_eq!(decode_comment(&[0, 200, 1]), None);
        assert_eq!(decode_comment(&[]), None);
    }
}
