//! A registry in a few lines over a socket, which answers whatever a test tells it to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Pushed;
use crate::content::Digest;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) range: Option<String>,
}

/// What to send back.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Bytes of the body that are really sent before the connection is closed.
    pub(super) cut: Option<usize>,
    /// After the body: go on for ever with zeros, chunked, so that no length is announced.
    pub(super) endless: bool,
    /// Before the last byte.
    pub(super) delay: Duration,
}

impl Answer {
    pub(super) fn ok(body: &[u8]) -> Self {
        Self { status: 200, body: body.to_vec(), ..Self::default() }
    }

    pub(super) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

type Handler = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

pub(super) struct Server {
    /// `127.0.0.1:port`
    pub(super) address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, handler): (_, Handler) = (Arc::clone(&seen), Arc::new(handler));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&handler), Arc::clone(&log)));
            }
        });
        Self { address, seen, accepting }
    }

    /// Serves an image properly under the repository `app`, whatever the tag.
    pub(super) async fn of(image: Pushed) -> Self {
        Self::start(move |request| properly(&image, request)).await
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path.contains(part)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What a well-behaved registry answers, ranges included.
pub(super) fn properly(image: &Pushed, request: &Seen) -> Answer {
    if let Some(version) = request.path.strip_prefix("/v2/app/manifests/") {
        let digest = version.parse::<Digest>().ok();
        return match digest {
            Some(digest) if digest != Digest::of(&image.manifest) => Answer::status(404),
            _ => Answer::ok(&image.manifest).header("content-type", image.content_type),
        };
    }
    let digest = request.path.strip_prefix("/v2/app/blobs/").and_then(|text| text.parse::<Digest>().ok());
    let Some(body) = digest.and_then(|digest| image.blobs.get(&digest)) else { return Answer::status(404) };
    let from = request
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    match from {
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
            Answer { status: 206, ..Answer::ok(&body[from..]) }.header("content-range", range)
        }
        None => Answer::ok(body),
    }
}

async fn serve(mut stream: TcpStream, handler: Handler, log: Arc<Mutex<Vec<Seen>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut seen = Seen { path: head.split(' ').nth(1).unwrap().to_owned(), ..Seen::default() };
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "authorization" => seen.authorization = Some(value.to_owned()),
            "range" => seen.range = Some(value.to_owned()),
            _ => {}
        }
    }
    log.lock().unwrap().push(seen.clone());
    // A client that hangs up in the middle is what some tests are about.
    let _ = answer(&mut stream, &handler(&seen)).await;
}

async fn answer(stream: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} x\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &if answer.endless {
        "transfer-encoding: chunked\r\n\r\n".to_owned()
    } else {
        format!("content-length: {}\r\n\r\n", answer.body.len())
    };
    stream.write_all(head.as_bytes()).await?;
    if answer.endless {
        let piece = [format!("{:x}\r\n", 65536).into_bytes(), vec![0; 65536], b"\r\n".to_vec()].concat();
        loop {
            stream.write_all(&piece).await?;
        }
    }
    let sent = &answer.body[..answer.cut.unwrap_or(answer.body.len())];
    let (most, last) = sent.split_at(sent.len().saturating_sub(1));
    stream.write_all(most).await?;
    tokio::time::sleep(answer.delay).await;
    stream.write_all(last).await?;
    stream.shutdown().await
}
