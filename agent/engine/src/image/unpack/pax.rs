//! PAX extended headers (POSIX.1-2001): `<length> <key>=<value>\n`, the length counting the whole record.
//!
//! Read by the stated lengths, never by splitting at newlines, since values hold newlines. A key that stands twice, or a
//! record that does not add up, refuses the archive: programs differ in what they make of those.

use std::collections::BTreeMap;

/// What PAX records say of one entry. Keys that carry nothing a layer needs are dropped.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// Seconds and nanoseconds.
    pub(super) mtime: Option<(i64, u32)>,
    /// Name without `SCHILY.xattr.`, and value.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

impl Extensions {
    /// The records of a header for the next entry.
    pub(super) fn parse(data: &[u8]) -> Result<Self, String> {
        let mut found = Self::default();
        for (key, value) in records(data)? {
            match key {
                b"path" => found.path = Some(not_empty(value, "path")?),
                b"linkpath" => found.link = Some(not_empty(value, "linkpath")?),
                b"size" => found.size = Some(decimal(value, "size")?),
                b"uid" => found.uid = Some(decimal(value, "uid")?),
                b"gid" => found.gid = Some(decimal(value, "gid")?),
                b"mtime" => found.mtime = Some(time(value)?),
                _ if key.starts_with(SPARSE) => return Err("sparse files are not supported".into()),
                _ => {
                    if let Some(name) = key.strip_prefix(XATTR) {
                        found.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Ok(found)
    }

    /// Checks a global header. Some programs apply these to all that follows and some do not, so one that says
    /// anything of entries is refused; what remains are comments such as `git archive` writes.
    pub(super) fn check_global(data: &[u8]) -> Result<(), String> {
        let records = records(data)?;
        match records.keys().find(|key| !key.starts_with(b"comment")) {
            Some(key) => Err(format!("a global header sets {}", String::from_utf8_lossy(key).escape_debug())),
            None => Ok(()),
        }
    }
}

fn records(mut data: &[u8]) -> Result<BTreeMap<&[u8], &[u8]>, String> {
    let mut found = BTreeMap::new();
    while !data.is_empty() {
        let space = data.iter().take(8).position(|byte| *byte == b' ').ok_or("a PAX record has no length")?;
        let (digits, _) = data.split_at(space);
        let length = usize::try_from(decimal(digits, "record length")?).unwrap_or(usize::MAX);
        if length > data.len() {
            return Err("a PAX record is longer than its header".into());
        }
        let (record, rest) = data.split_at(length);
        let body = record.get(space + 1..).and_then(|body| body.strip_suffix(b"\n"));
        let body = body.ok_or("a PAX record does not end where its length says")?;
        let equals = body.iter().position(|byte| *byte == b'=').ok_or("a PAX record has no key")?;
        let (key, value) = body.split_at(equals);
        if key.is_empty() {
            return Err("a PAX record has an empty key".into());
        }
        if found.insert(key, value.get(1..).unwrap_or_default()).is_some() {
            return Err(format!(
                "the PAX record {} stands twice",
                String::from_utf8_lossy(key).escape_debug()
            ));
        }
        data = rest;
    }
    Ok(found)
}

fn not_empty(value: &[u8], what: &str) -> Result<Vec<u8>, String> {
    if value.is_empty() { Err(format!("the PAX {what} is empty")) } else { Ok(value.to_vec()) }
}

fn decimal(value: &[u8], what: &str) -> Result<u64, String> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("the PAX {what} is not a number"))
}

/// `-12.5` means half a second before -12.
fn time(value: &[u8]) -> Result<(i64, u32), String> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let seconds = decimal(parts.next().unwrap_or_default(), "time")?;
    let seconds = i64::try_from(seconds).map_err(|_| "the PAX time is out of range")?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("the PAX time is not a number".into());
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    Ok(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + body.to_string().len();
        if length.to_string().len() != body.to_string().len() {
            length = body + length.to_string().len();
        }
        [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
    }

    #[test]
    fn values_with_newlines_and_fractions_survive() {
        let data =
            [record("SCHILY.xattr.user.x", b"a\n12 path=evil\n"), record("mtime", b"1700000000.25")].concat();
        let found = Extensions::parse(&data).unwrap();
        assert_eq!(found.xattrs, [(b"user.x".to_vec(), b"a\n12 path=evil\n".to_vec())]);
        assert_eq!((found.mtime, found.path), (Some((1_700_000_000, 250_000_000)), None));
        assert_eq!(time(b"-12.5"), Ok((-13, 500_000_000)));
    }

    #[test]
    fn records_that_do_not_add_up_are_refused() {
        let twice = [record("path", b"a"), record("path", b"b")].concat();
        let wrong: [&[u8]; 9] = [
            b"9 path=a",
            b"99 path=a\n",
            b"5 a=b\n",
            b"x path=a\n",
            b"path=a\n",
            b"6 =abc\n",
            b"10 size=1x\n",
            &twice,
            b"25 GNU.sparse.major=1234\n",
        ];
        for data in wrong {
            assert!(Extensions::parse(data).is_err(), "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn a_global_header_may_only_comment() {
        assert!(Extensions::check_global(&record("comment", b"0123abc")).is_ok());
        assert!(Extensions::check_global(&record("path", b"evil")).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(data: Vec<u8>) {
            let _ = Extensions::parse(&data);
        }

        #[test]
        fn well_formed_records_are_read_whole(value in prop::collection::vec(any::<u8>(), 1..200)) {
            let found = Extensions::parse(&record("path", &value)).unwrap();
            prop_assert_eq!(found.path, Some(value));
        }
    }
}
