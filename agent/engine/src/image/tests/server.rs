//! A registry in a few lines over a socket, with or without TLS, which answers whatever a test tells it to, and keeps
//! every byte that it was sent.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::Pushed;
use crate::content::Digest;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) range: Option<String>,
    /// Its head as it came.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
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
    /// Before each byte.
    pub(super) trickle: Duration,
    /// Instead of all that: these bytes, so many times.
    pub(super) raw: Option<(Vec<u8>, usize)>,
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

/// A certificate for `names`, and the authority that vouches for it, which is written as Docker has it.
pub(super) struct Certificate {
    acceptor: TlsAcceptor,
    authority: String,
}

impl Certificate {
    pub(super) fn new(names: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), authority: made.cert.pem() }
    }

    /// Makes hosts trust it for `registry`, below their `certs.d`.
    pub(super) fn trust(&self, certs_dir: &Path, registry: &str) {
        let dir = certs_dir.join(registry);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("ca.crt"), &self.authority).unwrap();
    }
}

impl Server {
    pub(super) async fn start(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1", None, handler).await
    }

    /// As [`Server::start`], on another address of this host, or with TLS.
    pub(super) async fn start_at(
        address: &str,
        certificate: Option<&Certificate>,
        handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, handler): (_, Handler) = (Arc::clone(&seen), Arc::new(handler));
        let acceptor = certificate.map(|certificate| certificate.acceptor.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, log, acceptor) = (Arc::clone(&handler), Arc::clone(&log), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, handler, log).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, handler, log).await;
                            }
                        }
                    }
                });
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

    /// All that it was ever sent, as text.
    pub(super) fn received(&self) -> String {
        let all = self.seen().into_iter().map(|seen| seen.head + &String::from_utf8_lossy(&seen.body));
        all.collect()
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
    let range = request.range.as_deref().and_then(|range| {
        let (from, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let last = last.parse().unwrap_or(body.len() - 1).min(body.len() - 1);
        Some((from.parse::<usize>().ok()?, last))
    });
    match range {
        Some((from, last)) => {
            let range = format!("bytes {from}-{last}/{}", body.len());
            Answer { status: 206, ..Answer::ok(&body[from..=last]) }.header("content-range", range)
        }
        None => Answer::ok(body),
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: Handler,
    log: Arc<Mutex<Vec<Seen>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ');
    let method = words.next().unwrap().to_owned();
    let mut seen = Seen { method, path: words.next().unwrap().to_owned(), ..Seen::default() };
    let mut length = 0;
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "authorization" => seen.authorization = Some(value.to_owned()),
            "range" => seen.range = Some(value.to_owned()),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    seen.head = head;
    seen.body = vec![0; length];
    let whole = stream.read_exact(&mut seen.body).await.is_ok();
    log.lock().unwrap().push(seen.clone());
    if whole {
        // A client that hangs up in the middle is what some tests are about.
        let _ = answer(&mut stream, &handler(&seen), seen.method == "HEAD").await;
    }
}

async fn answer(
    stream: &mut (impl AsyncWrite + Unpin),
    answer: &Answer,
    bodiless: bool,
) -> std::io::Result<()> {
    if let Some((bytes, times)) = &answer.raw {
        for _ in 0..*times {
            stream.write_all(bytes).await?;
        }
        return stream.shutdown().await;
    }
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
    if bodiless {
        return stream.shutdown().await;
    }
    if answer.endless {
        let piece = [format!("{:x}\r\n", 65536).into_bytes(), vec![0; 65536], b"\r\n".to_vec()].concat();
        loop {
            stream.write_all(&piece).await?;
        }
    }
    let sent = &answer.body[..answer.cut.unwrap_or(answer.body.len())];
    if !answer.trickle.is_zero() {
        for byte in sent {
            tokio::time::sleep(answer.trickle).await;
            stream.write_all(&[*byte]).await?;
        }
        return stream.shutdown().await;
    }
    let (most, last) = sent.split_at(sent.len().saturating_sub(1));
    stream.write_all(most).await?;
    tokio::time::sleep(answer.delay).await;
    stream.write_all(last).await?;
    stream.shutdown().await
}
