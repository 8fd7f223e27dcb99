//! Netlink attributes: a writer that nests, and a reader that never looks outside its slice.
//!
//! Numbers inside nf_tables attributes are big-endian; lengths and kinds are in the host's order.

/// Marks an attribute whose payload is attributes again.
const NESTED: u16 = 0x8000;
const HEADER: usize = 4;

/// A run of attributes being written.
#[derive(Debug, Default, Clone)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn bytes(mut self, kind: u16, payload: &[u8]) -> Self {
        self.push(kind, payload);
        self
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        let mut payload = text.as_bytes().to_vec();
        payload.push(0);
        self.bytes(kind, &payload)
    }

    pub(super) fn nest(self, kind: u16, inner: &Attributes) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn push(&mut self, kind: u16, payload: &[u8]) {
        // Callers cut lists into messages far below 64 KiB (see `batch::ELEMENTS_PER_MESSAGE`); a length that did
        // not fit would be refused by the kernel as malformed, never misread.
        let length = u16::try_from(HEADER + payload.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(payload);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// The payload of the first attribute of this kind, if the bytes are well formed up to it.
pub(super) fn find(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & !NESTED;
        let payload = bytes.get(HEADER..length)?;
        if kind == wanted {
            return Some(payload);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// A NUL-terminated text payload.
pub(super) fn text(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload.strip_suffix(&[0]).unwrap_or(payload)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_found_again() {
        let inner = Attributes::default().text(1, "counter");
        let written = Attributes::default().number(7, 5).nest(2, &inner).bytes(3, &[9]);
        assert_eq!(find(written.as_slice(), 7), Some(&5u32.to_be_bytes()[..]));
        assert_eq!(find(find(written.as_slice(), 2).unwrap(), 1).and_then(text), Some("counter"));
        assert_eq!(find(written.as_slice(), 3), Some(&[9][..]));
        assert_eq!(find(written.as_slice(), 4), None);
    }

    #[test]
    fn malformed_bytes_end_the_search() {
        for bytes in [&[][..], &[8, 0, 1], &[2, 0, 1, 0], &[200, 0, 1, 0, 5], &[0; 16]] {
            assert_eq!(find(bytes, 3), None, "{bytes:?}");
        }
    }
}
