//! One 512-byte tar header: V7, ustar and GNU, read strictly. No extension is applied here.

/// The size of a tar block.
pub(super) const BLOCK: usize = 512;

pub(super) type Block = [u8; BLOCK];

/// The fields of a header that mean something to us.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl Header {
    /// Reads a block; the error says which field is wrong.
    pub(super) fn parse(block: &Block) -> Result<Self, String> {
        let field = |from: usize, length: usize| block.get(from..from + length).unwrap_or_default();
        let checksum = number(field(148, 8), "checksum")?;
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
            .sum();
        if checksum != sum {
            return Err("the header's checksum is wrong".into());
        }
        let magic = field(257, 6);
        let mut name = text(field(0, 100)).to_vec();
        if magic == b"ustar\0" {
            let prefix = text(field(345, 155));
            if !prefix.is_empty() {
                name = [prefix, b"/", &name].concat();
            }
        }
        let kind = block.get(156).copied().unwrap_or_default();
        let device = matches!(kind, b'3' | b'4') && magic.starts_with(b"ustar");
        let narrow =
            |value: u64, what: &str| u32::try_from(value).map_err(|_| format!("the {what} is out of range"));
        Ok(Self {
            name,
            link: text(field(157, 100)).to_vec(),
            kind,
            mode: narrow(number(field(100, 8), "mode")? & 0o7777, "mode")?,
            uid: number(field(108, 8), "user id")?,
            gid: number(field(116, 8), "group id")?,
            size: number(field(124, 12), "size")?,
            mtime: time(field(136, 12))?,
            major: if device { narrow(number(field(329, 8), "device number")?, "device number")? } else { 0 },
            minor: if device { narrow(number(field(337, 8), "device number")?, "device number")? } else { 0 },
        })
    }
}

/// The bytes before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// An octal number, padded as the many writers of tar pad it, or GNU's base 256.
fn number(field: &[u8], what: &str) -> Result<u64, String> {
    match field.first() {
        Some(0x80) => {
            let digits = field.get(1..).unwrap_or_default();
            digits.iter().try_fold(0_u64, |value, byte| {
                value
                    .checked_mul(256)
                    .map(|value| value + u64::from(*byte))
                    .ok_or(format!("the {what} is out of range"))
            })
        }
        Some(first) if first & 0x80 != 0 => Err(format!("the {what} is negative or out of range")),
        _ => {
            let trimmed = text(field).trim_ascii();
            if trimmed.iter().any(|byte| !matches!(byte, b'0'..=b'7')) {
                return Err(format!("the {what} is not an octal number"));
            }
            Ok(trimmed.iter().fold(0, |value, byte| value * 8 + u64::from(byte - b'0')))
        }
    }
}

/// A time may lie before 1970, in base 256 with the sign bit set.
fn time(field: &[u8]) -> Result<i64, String> {
    if field.first() == Some(&0xff) {
        let low = field.last_chunk::<8>().copied().unwrap_or_default();
        let value = i64::from_be_bytes(low);
        return if value < 0 { Ok(value) } else { Err("the time is out of range".into()) };
    }
    i64::try_from(number(field, "time")?).map_err(|_| "the time is out of range".into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_in_every_customary_padding_and_refused_otherwise() {
        for (field, value) in [
            (&b"0000755\0"[..], 0o755),
            (b"   755 \0", 0o755),
            (b"755 \0\0\0\0", 0o755),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"77777777777\0", 0o77_777_777_777),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", 0x0002_0000_0000),
        ] {
            assert_eq!(number(field, "n"), Ok(value));
        }
        for field in [
            &b"00008\0\0\0"[..],
            b"-1\0\0\0\0\0\0",
            b"0x1f\0\0\0\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            b"7 7\0\0\0\0\0",
        ] {
            assert!(number(field, "n").is_err());
        }
        assert!(number(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "n").is_err(), "2^80 fits nowhere");
        assert_eq!(time(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Ok(-1));
    }

    proptest! {
        #[test]
        fn no_block_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), BLOCK)) {
            let mut block: Block = bytes.try_into().unwrap();
            let sum: u32 = block.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) }).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let _ = Header::parse(&block);
        }

        #[test]
        fn what_the_tar_crate_writes_is_read_back(
            name in "[a-z]{1,20}(/[a-z]{1,20}){0,9}", mode in 0_u32..0o10000, uid in 0_u64..1 << 40,
            size in 0_u64..1 << 50, mtime in 0_u64..1 << 40,
        ) {
            let mut written = tar::Header::new_ustar();
            prop_assume!(written.set_path(&name).is_ok());
            written.set_mode(mode);
            written.set_uid(uid);
            written.set_gid(uid + 1);
            written.set_size(size);
            written.set_mtime(mtime);
            written.set_cksum();
            let read = Header::parse(written.as_bytes()).unwrap();
            prop_assert_eq!(read.name, name.into_bytes());
            prop_assert_eq!((read.mode, read.uid, read.gid, read.size), (mode, uid, uid + 1, size));
            prop_assert_eq!(u64::try_from(read.mtime).unwrap(), mtime);
        }
    }
}
