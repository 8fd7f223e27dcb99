//! Requests as bytes: versions, unknown paths, and what no client would send.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use itest::dev::Dev;
use itest::host::Host;
use itest::wait;

use crate::{SOON, scratch, socket};

/// An answer: status, head in lower case, body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn send(dev: &Dev<'_>, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket(dev)).expect("the socket is there");
    stream.set_read_timeout(Some(SOON)).expect("a time");
    // The server may end the connection in the middle of what makes no sense.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[track_caller]
fn ask(dev: &Dev<'_>, method: &str, target: &str) -> Answer {
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: api.moby.localhost\r\nConnection: close\r\n\r\n");
    let text = send(dev, request.as_bytes());
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{target}: no answer: {text}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

#[track_caller]
fn message(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.body).expect("an error is JSON");
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    body["message"].as_str().expect("an error has a message").to_owned()
}

#[test]
fn the_wire_is_dockers() {
    let (host, dir) = (Host::new("raw"), scratch());
    let mut dev = Dev::start(&host, dir.path(), &[]);
    let mode = std::fs::metadata(socket(&dev)).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    pings(&dev);
    versions(&dev);
    unknown_paths(&dev);
    refused_bodies(&dev);
    lists(&dev);
    nonsense(&dev);
    dev.stop();
    assert!(!socket(&dev).exists(), "the socket outlives the agent");
}

fn pings(dev: &Dev<'_>) {
    let get = ask(dev, "GET", "/_ping");
    assert_eq!((get.status, get.body.as_str()), (200, "OK"));
    let head = ask(dev, "HEAD", "/_ping");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("content-length: 0"), "{}", head.head);
    for answer in [get, head, ask(dev, "GET", "/v1.24/_ping")] {
        for line in ["api-version: 1.51", "ostype: linux", "docker-experimental: false", "swarm: inactive"] {
            assert!(answer.head.contains(line), "{line} is missing: {}", answer.head);
        }
        assert!(
            answer.head.contains("cache-control: no-cache, no-store, must-revalidate"),
            "{}",
            answer.head
        );
    }
}

fn versions(dev: &Dev<'_>) {
    for path in ["/version", "/v1.24/version", "/v1.51/version"] {
        let answer = ask(dev, "GET", path);
        let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!((answer.status, &body["ApiVersion"]), (200, &"1.51".into()), "{path}");
    }
    for path in ["/v1.52/version", "/v2.0/version", "/v1.99999999999999999999/version"] {
        let answer = ask(dev, "GET", path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(message(&answer).ends_with("is too new. Maximum supported API version is 1.51"));
    }
    let old = ask(dev, "GET", "/v1.23/version");
    assert_eq!(old.status, 400);
    let words = "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version";
    assert_eq!(old.body.trim(), words, "such clients read plain text");
}

fn unknown_paths(dev: &Dev<'_>) {
    for (method, path) in [
        ("GET", "/nonsense"),
        ("GET", "/v1.43/nonsense"),
        ("POST", "/version"),
        ("DELETE", "/containers/json"),
        ("GET", "/"),
    ] {
        let answer = ask(dev, method, path);
        assert_eq!((answer.status, message(&answer).as_str()), (404, "page not found"), "{method} {path}");
        assert!(answer.head.contains("api-version: 1.51"), "{}", answer.head);
    }
    let absent = ask(dev, "POST", "/v1.43/networks/create");
    assert_eq!(
        (absent.status, message(&absent).as_str()),
        (501, "POST /networks/create is not supported by Roadstead")
    );
    assert_eq!(ask(dev, "OPTIONS", "/containers/json").status, 200);
    let missing = ask(dev, "GET", "/containers/nobody/json");
    assert_eq!((missing.status, message(&missing).as_str()), (404, "No such container: nobody"));
}

/// A client still sending when it is refused must come to read why.
fn refused_bodies(dev: &Dev<'_>) {
    let body = vec![b' '; 4 << 20];
    for (path, status) in [("/networks/create", 501), ("/nonsense", 404), ("/v1.99/build", 400)] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: api.moby.localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = UnixStream::connect(socket(dev)).expect("the socket is there");
        stream.set_read_timeout(Some(SOON)).expect("a time");
        stream
            .write_all(&[head.as_bytes(), &body].concat())
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}

/// What other clients than Docker's own send.
fn lists(dev: &Dev<'_>) {
    let python = "/v1.51/containers/json?limit=-1&all=1&size=0&trunc_cmd=0&filters=%7B%22label%22%3A+%5B%22a%3Db%22%5D%7D";
    for target in [
        python,
        "/containers/json?all=True&filters=",
        "/images/json?all=false",
        "/containers/json?all=1&all=0",
    ] {
        let answer = ask(dev, "GET", target);
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
        assert!(answer.body.starts_with('['), "{target}: {}", answer.body);
    }
    for target in
        ["/containers/json?filters=%7B", "/containers/json?limit=many", "/images/json?filters=%5B1%5D"]
    {
        let answer = ask(dev, "GET", target);
        assert_eq!(answer.status, 400, "{target}");
        assert!(!message(&answer).is_empty());
    }
}

fn nonsense(dev: &Dev<'_>) {
    send(dev, b"GARBAGE\r\n\r\n");
    send(dev, b"GET /_ping HTTP/9.9\r\n\r\n");
    send(dev, &[&b"GET /"[..], &vec![b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n"].concat());
    assert!(ask(dev, "GET", "/containers/%ff%00/json").status >= 400);
    assert!(ask(dev, "GET", "/containers/..%2f..%2fetc/json").status >= 400);
    let half: Vec<UnixStream> =
        (0..200).map(|_| UnixStream::connect(socket(dev)).expect("connected")).collect();
    wait::until("others are answered beside 200 that say nothing", SOON, || {
        let answer = ask(dev, "GET", "/_ping");
        if answer.status == 200 { Ok(()) } else { Err(answer.head) }
    });
    drop(half);
}
