//! The records of Docker's json-file driver: `{"log":"text\n","stream":"stdout","time":"..."}` and a line feed,
//! byte for byte as Docker writes them, escapes included; `attrs` stands before `time` if there are any.
//!
//! Text that is not UTF-8 is not kept as it was: JSON has no place for it.

use std::collections::BTreeMap;

use super::Line;
use crate::keeper::time;

/// No record is longer, in bytes: a piece makes at most six times its size, attributes are bounded by the engine.
pub const MAX_RECORD: usize = 256 * 1024;

/// What stands between stream and time in each record.
#[derive(Debug, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// Of these; none are not mentioned at all.
    pub fn new(attributes: &BTreeMap<String, String>) -> Attributes {
        let mut text = Vec::new();
        for (key, value) in attributes {
            text.extend_from_slice(if text.is_empty() { b"\"attrs\":{" } else { b"," });
            string(&mut text, key.as_bytes());
            text.push(b':');
            string(&mut text, value.as_bytes());
        }
        if !text.is_empty() {
            text.extend_from_slice(b"},");
        }
        Attributes(text)
    }
}

/// Writes one record.
pub fn encode(out: &mut Vec<u8>, line: Line<'_>, attributes: &Attributes) {
    out.extend_from_slice(b"{\"log\":");
    string(out, line.text);
    if line.is_whole {
        // Into the string that has just ended.
        out.pop();
        out.extend_from_slice(b"\\n\"");
    }
    out.extend_from_slice(if line.stderr { b",\"stream\":\"stderr\"," } else { b",\"stream\":\"stdout\"," });
    out.extend_from_slice(&attributes.0);
    out.extend_from_slice(b"\"time\":\"");
    out.extend_from_slice(time::rfc3339_short(line.time_ns).as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// A JSON string with the escapes that Go's encoder makes, which also keep it safe in a web page.
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            escape(out, character);
        }
        // Go replaces each byte, not each run of them.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
        }
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &[u8], is_whole: bool, attributes: &[(&str, &str)]) -> String {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let attributes = Attributes::new(&attributes.collect());
        let mut out = Vec::new();
        let line = Line { time_ns: 1_795_230_000_120_000_000, stderr: false, text, is_whole };
        encode(&mut out, line, &attributes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn records_are_dockers_byte_for_byte() {
        assert_eq!(
            encoded(b"a \"b\" \\ <&>\t\xffx", true, &[]),
            "{\"log\":\"a \\\"b\\\" \\\\ \\u003c\\u0026\\u003e\\u0009\\ufffdx\\n\",\"stream\":\"stdout\",\
             \"time\":\"2026-11-21T03:00:00.12Z\"}\n"
        );
        assert_eq!(
            encoded("é\u{2028}\r".as_bytes(), false, &[("tag", "web"), ("a", "<")]),
            "{\"log\":\"é\\u2028\\r\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"\\u003c\",\"tag\":\"web\"},\
             \"time\":\"2026-11-21T03:00:00.12Z\"}\n"
        );
    }

    #[test]
    fn the_longest_piece_fits_a_record() {
        assert!(encoded(&[0; super::super::MAX_PIECE], true, &[]).len() < MAX_RECORD / 2);
    }
}
