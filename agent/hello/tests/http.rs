//! The server as a process, asked over real TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

struct Server {
    process: Child,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_hello"))
            .env("PORT", "0")
            .env("ROADSTEAD_TASK", "t1")
            .env("ROADSTEAD_SERVICE", "web")
            .env("ROADSTEAD_SLOT", "3")
            .env("ROADSTEAD_NODE", "n1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
        Self { process, output, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends `request` and reads until the server closes.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[test]
fn it_says_which_task_answered_and_logs_the_request() {
    let mut server = Server::start();
    let answer = server.ask(&get("/"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let expected =
        format!("hello from {}\ntask t1\nservice web\nslot 3\nnode n1\naddress 127.0.0.1\n", host.trim_end());
    assert_eq!(text, expected);
    let mut line = String::new();
    server.output.read_line(&mut line).unwrap();
    assert!(line.starts_with("GET / 200 ") && line.contains("ms 127.0.0.1:"), "{line}");
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let server = Server::start();
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok\n") {
            let mut piece = [0; 256];
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..count]);
        }
    }
}

#[test]
fn slow_answers_after_the_time_that_was_asked_for() {
    let server = Server::start();
    let began = Instant::now();
    assert!(server.ask(&get("/slow?ms=150")).starts_with("HTTP/1.1 200"));
    assert!(began.elapsed() >= Duration::from_millis(150));
    assert!(server.ask(&get("/slow?ms=x")).starts_with("HTTP/1.1 400"));
}

#[test]
fn unknown_paths_bad_requests_and_long_heads_are_refused() {
    let server = Server::start();
    assert!(server.ask(&get("/nothing")).starts_with("HTTP/1.1 404"));
    assert!(server.ask("nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(20_000));
    assert!(server.ask(&long).starts_with("HTTP/1.1 431"));
    assert!(server.ask("DELETE / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 405"));
}

#[test]
fn more_connections_than_places_are_turned_away_and_places_come_free() {
    let server = Server::start();
    let held: Vec<TcpStream> = (0..256).map(|_| server.connect()).collect();
    let mut answer = String::new();
    server.connect().read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !server.ask(&get("/healthz")).starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "no place came free");
        std::thread::sleep(Duration::from_millis(20));
    }
}
