//! The compact form of a log. A file is a head and then frames, each with a checksum:
//!
//! ```text
//! file   "RSLOG\0\0\x01"  seed: 8 bytes  frame...
//! frame  mark: f5 4c  flags: 1 byte  0: 1 byte  length: 4 bytes  time: 8 bytes  line...  checksum: 4 bytes  length: 4 bytes
//! line   varint of (bytes in the text * 2 + 1 if it ended with a line feed)  text
//! ```
//!
//! Numbers are little-endian; the varint is LEB128. `length` is that of the lines together, and stands at both ends
//! so that a file is read from its end as well. Bit 0 of the flags says standard error. `time` is that of the first
//! line in nanoseconds since 1970, each further line is one nanosecond later. The checksum is CRC-32 over the seed
//! and the frame up to the checksum; the seed is random for each file, so that nothing a container writes can be
//! taken for a frame.
//!
//! What a reader sees at the end of a file may be part of a frame that is just being written ([`Found::Short`]), or
//! what a crash left ([`Found::Damaged`]). The writer cuts off the latter before it goes on with a file.

use super::Line;

/// A file begins with it.
pub const MAGIC: [u8; 8] = *b"RSLOG\0\0\x01";
/// Bytes of [`MAGIC`] and the seed.
pub const FILE_HEAD: usize = 16;
/// A frame begins with it; the first byte is none of UTF-8.
pub const MARK: [u8; 2] = [0xf5, 0x4c];
/// Bytes of a frame before its lines.
pub const HEAD: usize = 16;
/// Bytes of a frame behind its lines.
pub const TAIL: usize = 8;
/// The most bytes that the lines of one frame take. A writer begins a new one well before.
pub const MAX_LINES: usize = 256 * 1024;

const STDERR: u8 = 1;

/// What the checksums of a file begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 8]);

impl Seed {
    /// The seed of a new file.
    pub fn random() -> Seed {
        use std::hash::BuildHasher;
        // Keyed by the kernel's random numbers.
        Seed(std::hash::RandomState::new().hash_one(crate::keeper::time::now_ns()).to_le_bytes())
    }

    /// What a file with this seed begins with.
    pub fn file_head(self) -> [u8; FILE_HEAD] {
        let mut head = [0; FILE_HEAD];
        head[..8].copy_from_slice(&MAGIC);
        head[8..].copy_from_slice(&self.0);
        head
    }

    /// The seed in the first bytes of a file; `None` when they are not those of such a file.
    pub fn of(head: &[u8]) -> Option<Seed> {
        let seed = head.strip_prefix(&MAGIC)?.first_chunk::<8>()?;
        Some(Seed(*seed))
    }

    fn checksum(self, frame: &[u8]) -> [u8; 4] {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.0);
        hasher.update(frame);
        hasher.finalize().to_le_bytes()
    }
}

/// A frame that is being made at the end of a buffer.
#[derive(Debug)]
pub struct Making {
    start: usize,
    /// Whether its lines are those of standard error.
    pub stderr: bool,
    lines: u64,
    time_ns: u64,
}

impl Making {
    /// Begins a frame.
    pub fn begin(out: &mut Vec<u8>, time_ns: u64, stderr: bool) -> Making {
        let start = out.len();
        out.extend_from_slice(&MARK);
        out.extend_from_slice(&[if stderr { STDERR } else { 0 }, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&time_ns.to_le_bytes());
        Making { start, stderr, lines: 0, time_ns }
    }

    /// The time that the next line in it has.
    pub fn next_time(&self) -> u64 {
        self.time_ns + self.lines
    }

    /// Adds a line that [`line`] has encoded.
    pub fn push(&mut self, out: &mut Vec<u8>, line: &[u8]) {
        out.extend_from_slice(line);
        self.lines += 1;
    }

    /// Completes it.
    pub fn end(self, out: &mut Vec<u8>, seed: Seed) {
        let length = u32::try_from(out.len() - self.start - HEAD).unwrap_or(u32::MAX).to_le_bytes();
        out[self.start + 4..self.start + 8].copy_from_slice(&length);
        let checksum = seed.checksum(&out[self.start..]);
        out.extend_from_slice(&checksum);
        out.extend_from_slice(&length);
    }
}

/// Encodes a line for [`Making::push`].
pub fn line(out: &mut Vec<u8>, text: &[u8], is_whole: bool) {
    let mut rest = text.len() * 2 + usize::from(is_whole);
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low & 0x7f);
            break;
        }
        out.push(low | 0x80);
    }
    out.extend_from_slice(text);
}

/// What stands at some place of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// The beginning of one: so many bytes are needed to tell.
    Short(usize),
    /// No frame.
    Damaged,
}

/// A whole frame with the right checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Bytes of all of it.
    pub size: usize,
    stderr: bool,
    time_ns: u64,
    lines: &'a [u8],
}

/// What `bytes` begin with.
pub fn frame(seed: Seed, bytes: &[u8]) -> Found<'_> {
    let begun = bytes.len().min(MARK.len());
    if bytes[..begun] != MARK[..begun] {
        return Found::Damaged;
    }
    let Some((head, _)) = bytes.split_at_checked(HEAD) else {
        return Found::Short(HEAD);
    };
    let length = number(head, 4);
    if length > MAX_LINES || head[2] & !STDERR != 0 || head[3] != 0 {
        return Found::Damaged;
    }
    let size = HEAD + length + TAIL;
    let Some((whole, _)) = bytes.split_at_checked(size) else {
        return Found::Short(size);
    };
    let (summed, tail) = whole.split_at(HEAD + length);
    if tail[..4] != seed.checksum(summed) || tail[4..] != head[4..8] {
        return Found::Damaged;
    }
    let mut time = [0; 8];
    time.copy_from_slice(&head[8..]);
    Found::Frame(Frame {
        size,
        stderr: head[2] & STDERR != 0,
        time_ns: u64::from_le_bytes(time),
        lines: &summed[HEAD..],
    })
}

/// The size of the frame that ends with `bytes`, if one does.
pub fn size_before(bytes: &[u8]) -> Option<usize> {
    let at = bytes.len().checked_sub(4)?;
    let length = number(bytes, at);
    (length <= MAX_LINES).then_some(HEAD + length + TAIL)
}

/// Four bytes as a number; the caller knows that they are there.
fn number(bytes: &[u8], at: usize) -> usize {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four) as usize
}

impl<'a> Frame<'a> {
    /// Its lines, in order.
    pub fn lines(self) -> impl Iterator<Item = Line<'a>> {
        let mut rest = self.lines;
        (0..).map_while(move |number| {
            let (text, is_whole, behind) = split(rest)?;
            rest = behind;
            let time_ns = self.time_ns.saturating_add(number);
            Some(Line { time_ns, stderr: self.stderr, text, is_whole })
        })
    }
}

/// The first line, whether it ended with a line feed, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let mut value = 0_usize;
    // Three bytes are enough for any piece of a line, and four for anything that fits a frame.
    for (index, byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let (text, behind) = bytes[index + 1..].split_at_checked(value / 2)?;
            return Some((text, value % 2 == 1, behind));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(seed: Seed, stderr: bool, lines: &[(Vec<u8>, bool)]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut making = Making::begin(&mut out, 1_000, stderr);
        for (text, is_whole) in lines {
            let mut one = Vec::new();
            line(&mut one, text, *is_whole);
            making.push(&mut out, &one);
        }
        making.end(&mut out, seed);
        out
    }

    fn decoded(seed: Seed, bytes: &[u8]) -> Option<Vec<(Vec<u8>, bool)>> {
        match frame(seed, bytes) {
            Found::Frame(frame) => {
                Some(frame.lines().map(|line| (line.text.to_vec(), line.is_whole)).collect())
            }
            Found::Short(_) | Found::Damaged => None,
        }
    }

    #[test]
    fn a_frame_keeps_stream_times_and_bytes_that_are_no_text() {
        let seed = Seed::random();
        let bytes = encoded(seed, true, &[(b"\xff\0one".to_vec(), true), (vec![b'x'; 16_384], false)]);
        let Found::Frame(frame) = frame(seed, &bytes) else { panic!("no frame") };
        let lines: Vec<Line<'_>> = frame.lines().collect();
        assert_eq!(lines[0], Line { time_ns: 1_000, stderr: true, text: b"\xff\0one", is_whole: true });
        assert_eq!((lines[1].time_ns, lines[1].text.len(), lines[1].is_whole), (1_001, 16_384, false));
        assert_eq!((frame.size, size_before(&bytes)), (bytes.len(), Some(bytes.len())));
        assert_eq!(Seed::of(&seed.file_head()), Some(seed));
        assert_eq!(Seed::of(b"{\"log\":\"\"}......."), None);
    }

    #[test]
    fn what_a_container_writes_is_no_frame_of_another_file() {
        let forged = encoded(Seed::random(), false, &[(b"I was never written".to_vec(), true)]);
        assert_eq!(frame(Seed::random(), &forged), Found::Damaged);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(lines in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 1..20)) {
            let seed = Seed::random();
            let bytes = encoded(seed, false, &lines);
            prop_assert_eq!(decoded(seed, &bytes), Some(lines));
        }

        #[test]
        fn a_part_of_a_frame_is_never_a_frame_and_asks_for_more(cut in 0_usize..60) {
            let seed = Seed::random();
            let bytes = encoded(seed, false, &[(b"some line of text, long enough".to_vec(), true)]);
            let cut = cut.min(bytes.len() - 1);
            prop_assert!(matches!(frame(seed, &bytes[..cut]), Found::Short(needed) if needed > cut));
        }

        #[test]
        fn one_flipped_bit_is_noticed(at in 0_usize..60, bit in 0_u8..8) {
            let seed = Seed::random();
            let mut bytes = encoded(seed, false, &[(b"some line of text, long enough".to_vec(), true)]);
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decoded(seed, &bytes), None);
        }

        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut marked = MARK.to_vec();
            marked.extend_from_slice(&[0, 0]);
            marked.extend_from_slice(&bytes);
            let _ = (decoded(Seed::random(), &marked), size_before(&bytes), split(&bytes));
        }
    }
}
