//! Reads HTTP/1.1 requests from a connection. It keeps no more than
//! [`MAX_HEAD`] bytes of one, and understands just enough of RFC 9112 to find
//! where each request ends. Deliberately absent: chunked bodies, which no
//! request to this server has a use for.

use std::io::{self, Read};

/// A longer request line with its header fields is answered with 431.
pub(crate) const MAX_HEAD: usize = 8 * 1024;
/// A longer body is answered with 413; a shorter one is read and forgotten.
const MAX_BODY: usize = 64 * 1024;

/// The parts of a request that an answer depends on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// As sent: "GET".
    pub(crate) method: String,
    /// Path and query, as sent.
    pub(crate) target: String,
    /// Whether the client wants to send more on this connection.
    pub(crate) keep_alive: bool,
    /// Bytes of body that follow the head.
    body: usize,
}

/// Why no request could be read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Not HTTP.
    Malformed(&'static str),
    /// The head is longer than [`MAX_HEAD`].
    HeadTooLarge,
    /// The body is longer than [`MAX_BODY`].
    BodyTooLarge,
    /// The client stalled, left in the middle of a request, or the like.
    Connection,
}

impl Fault {
    /// Status and text to answer with; none when nobody would read it.
    pub(crate) fn answer(&self) -> Option<(u16, String)> {
        match self {
            Self::Malformed(why) => Some((400, format!("bad request: {why}\n"))),
            Self::HeadTooLarge => Some((431, format!("request head is longer than {MAX_HEAD} bytes\n"))),
            Self::BodyTooLarge => Some((413, format!("request body is longer than {MAX_BODY} bytes\n"))),
            Self::Connection => None,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Self {
        Self::Connection
    }
}

/// A connection and what was read from it but not yet used.
pub(crate) struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads requests from `source`.
    pub(crate) fn new(source: R) -> Self {
        Self { source, buffer: Vec::new() }
    }

    /// The next request, its body skipped; `None` when the client closed
    /// between two requests.
    pub(crate) fn next_request(&mut self) -> Result<Option<Request>, Fault> {
        let end = loop {
            // RFC 9112 section 2.2: an empty line before a request is ignored.
            while self.buffer.starts_with(b"\r\n") {
                self.buffer.drain(..2);
            }
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(Fault::HeadTooLarge);
            }
            if !self.fill()? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(Fault::Connection) };
            }
        };
        if end > MAX_HEAD {
            return Err(Fault::HeadTooLarge);
        }
        let request = parse(&self.buffer[..end])?;
        self.buffer.drain(..end + 4);
        self.skip(request.body)?;
        Ok(Some(request))
    }

    fn skip(&mut self, length: usize) -> Result<(), Fault> {
        let mut left = length;
        loop {
            let held = left.min(self.buffer.len());
            self.buffer.drain(..held);
            left -= held;
            if left == 0 {
                return Ok(());
            }
            if !self.fill()? {
                return Err(Fault::Connection);
            }
        }
    }

    /// Reads once; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 2048];
        let count = loop {
            match self.source.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn parse(head: &[u8]) -> Result<Request, Fault> {
    let text = std::str::from_utf8(head).map_err(|_| Fault::Malformed("not text"))?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Fault::Malformed("the first line is not \"METHOD TARGET VERSION\""));
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(Fault::Malformed("the method is not a word"));
    }
    if !target.starts_with('/') || target.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Fault::Malformed("the target does not begin with /"));
    }
    let modern = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return Err(Fault::Malformed("the version is not HTTP/1.1")),
    };
    let fields = Fields::parse(lines)?;
    if modern && !fields.host {
        return Err(Fault::Malformed("no Host field"));
    }
    Ok(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        keep_alive: fields.keep_alive.unwrap_or(modern),
        body: fields.length.unwrap_or(0),
    })
}

/// The header fields that matter here.
#[derive(Default)]
struct Fields {
    host: bool,
    keep_alive: Option<bool>,
    length: Option<usize>,
}

impl Fields {
    fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Self, Fault> {
        let mut fields = Self::default();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(Fault::Malformed("a field without a colon"))?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(Fault::Malformed("a field name is not a word"));
            }
            if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                return Err(Fault::Malformed("a control character in a field"));
            }
            fields.take(&name.to_ascii_lowercase(), value.trim())?;
        }
        Ok(fields)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        match name {
            "host" if self.host => return Err(Fault::Malformed("two Host fields")),
            "host" => self.host = true,
            "transfer-encoding" => return Err(Fault::Malformed("a body with Transfer-Encoding")),
            "connection" if value.eq_ignore_ascii_case("close") => self.keep_alive = Some(false),
            "connection" if value.eq_ignore_ascii_case("keep-alive") => self.keep_alive = Some(true),
            "content-length" => {
                if self.length.is_some() || value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(Fault::Malformed("Content-Length is not one number"));
                }
                let length = value.parse().map_err(|_| Fault::BodyTooLarge)?;
                if length > MAX_BODY {
                    return Err(Fault::BodyTooLarge);
                }
                self.length = Some(length);
            }
            _ => {}
        }
        Ok(())
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelined_requests_are_read_one_after_the_other() {
        let text = b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.0\r\n\r\n";
        let mut reader = Reader::new(&text[..]);
        let first = reader.next_request().unwrap().unwrap();
        assert_eq!((first.target.as_str(), first.keep_alive), ("/a", true));
        let second = reader.next_request().unwrap().unwrap();
        assert_eq!((second.target.as_str(), second.keep_alive), ("/b", false));
        assert!(reader.next_request().unwrap().is_none());
    }

    #[test]
    fn malformed_heads_are_answered_with_400() {
        for head in [
            "GET\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            let fault = Reader::new(head.as_bytes()).next_request().unwrap_err();
            assert_eq!(fault.answer().map(|(status, _)| status), Some(400), "{head:?}");
        }
    }

    #[test]
    fn an_endless_head_is_cut_off_with_431() {
        let mut reader = Reader::new(std::io::repeat(b'a'));
        let fault = reader.next_request().unwrap_err();
        assert_eq!(fault.answer().map(|(status, _)| status), Some(431));
        assert!(reader.buffer.len() <= MAX_HEAD + 2048);
    }

    #[test]
    fn a_client_that_leaves_in_the_middle_gets_no_answer() {
        let fault = Reader::new(&b"GET / HT"[..]).next_request().unwrap_err();
        assert!(fault.answer().is_none());
    }
}
