//! What `container logs` and `service logs` have in common: which lines are asked for, and how one is shown.

use std::collections::BTreeMap;
use std::fmt::Write;

use proto::v1::LogLine;
use serde::Serialize;

use crate::moment;
use crate::output::time;

/// A longer line is shown in several, in bytes.
const LONGEST: usize = 1 << 20;

/// Which lines, and what is shown with each.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Which {
    /// Go on with what is written from now on
    #[arg(long, short = 'f')]
    pub(super) follow: bool,
    /// Only the last lines, or all
    #[arg(long, short = 'n', value_name = "LINES", value_parser = tail, default_value = "all", hide_default_value = true)]
    pub(super) tail: Tail,
    /// Only lines from then on: how long ago (10m), a time, or seconds since 1970
    #[arg(long, value_name = "WHEN", value_parser = moment::when)]
    pub(super) since: Option<u64>,
    /// Only lines up to then
    #[arg(long, value_name = "WHEN", value_parser = moment::when)]
    pub(super) until: Option<u64>,
    /// Show when each line was written
    #[arg(long, short = 't')]
    pub(super) timestamps: bool,
    /// Show the labels and variables that --log-opt chose
    #[arg(long)]
    pub(super) details: bool,
}

/// How many of the last lines; none is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail(pub(super) Option<u32>);

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail(None)),
        _ => text
            .parse()
            .map(|lines| Tail(Some(lines)))
            .map_err(|_| format!("{text:?} is neither a number nor all")),
    }
}

impl Which {
    /// What stands before a line.
    pub(super) fn prefix(&self, line: &LogLine) -> String {
        let mut text = String::new();
        if self.timestamps {
            text = time::rfc3339_ns(line.time_ns) + " ";
        }
        if self.details {
            text += &attributes(line);
            text.push(' ');
        }
        text
    }
}

/// As Docker writes them: sorted, and escaped as in a query.
fn attributes(line: &LogLine) -> String {
    let sorted: BTreeMap<_, _> = line.attributes.iter().collect();
    let one = |(key, value): (&String, &String)| format!("{}={}", escaped(key), escaped(value));
    sorted.into_iter().map(one).collect::<Vec<_>>().join(",")
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            // A string takes whatever is written to it.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// A line as programs read it.
#[derive(Debug, Serialize)]
pub(super) struct JsonLine {
    time: String,
    stream: &'static str,
    text: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

impl From<LogLine> for JsonLine {
    fn from(line: LogLine) -> Self {
        Self {
            time: time::rfc3339_ns(line.time_ns),
            stream: if line.stderr { "stderr" } else { "stdout" },
            text: String::from_utf8_lossy(&line.data).into_owned(),
            attributes: line.attributes.into_iter().collect(),
        }
    }
}

/// Puts the pieces of long lines together, whatever other lines come between them.
#[derive(Debug)]
pub(super) struct Joiner<K> {
    begun: BTreeMap<K, LogLine>,
}

impl<K: Ord> Joiner<K> {
    pub(super) fn new() -> Self {
        Self { begun: BTreeMap::new() }
    }

    /// Takes a piece of `source`; answers the line when this was the end of it.
    pub(super) fn add(&mut self, source: K, piece: LogLine) -> Option<LogLine> {
        let goes_on = piece.partial;
        let line = match self.begun.remove(&source) {
            Some(mut line) => {
                line.data.extend_from_slice(&piece.data);
                line
            }
            None => piece,
        };
        if goes_on && line.data.len() < LONGEST {
            self.begun.insert(source, line);
            return None;
        }
        Some(line)
    }

    /// The lines that never ended.
    pub(super) fn rest(self) -> impl Iterator<Item = (K, LogLine)> {
        self.begun.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str, partial: bool) -> LogLine {
        LogLine { time_ns: 1, data: text.into(), partial, ..LogLine::default() }
    }

    #[test]
    fn pieces_are_joined_by_source_and_a_line_has_a_longest_length() {
        let mut joiner = Joiner::new();
        assert_eq!(joiner.add("a", piece("one ", true)), None);
        assert_eq!(joiner.add("b", piece("other", false)).map(|line| line.data), Some(b"other".to_vec()));
        assert_eq!(joiner.add("a", piece("two", false)).map(|line| line.data), Some(b"one two".to_vec()));
        let long = "x".repeat(LONGEST / 2);
        assert_eq!(joiner.add("a", piece(&long, true)), None);
        assert!(joiner.add("a", piece(&long, true)).is_some());
        joiner.add("b", piece("no end", true));
        assert_eq!(
            joiner.rest().map(|(source, line)| (source, line.data)).collect::<Vec<_>>(),
            [("b", b"no end".to_vec())]
        );
    }

    #[test]
    fn details_are_dockers() {
        let mut line = piece("", false);
        assert_eq!(attributes(&line), "");
        line.attributes =
            [("tag", "a b"), ("A", "1,2=é")].map(|(key, value)| (key.into(), value.into())).into();
        assert_eq!(attributes(&line), "A=1%2C2%3D%C3%A9,tag=a+b");
    }

    #[test]
    fn the_tail_is_a_number_or_all() {
        assert_eq!(
            (tail("all"), tail("0"), tail("7")),
            (Ok(Tail(None)), Ok(Tail(Some(0))), Ok(Tail(Some(7))))
        );
        assert!(tail("-1").is_err() && tail("").is_err());
    }
}
