//! Registries that fail: what they did is said, and nothing of it is kept.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use itest::dev::Dev;
use itest::host::Host;
use itest::image;

use crate::{failure, scratch};

/// The test binary runs itself as the bad registry, inside the host's namespace.
const PLAY: &str = "ROADSTEAD_TEST_BAD_REGISTRY";

fn start(host: &Host) -> Child {
    let mut command = host.command(std::env::current_exe().expect("a running test has a path"));
    command.args(["--exact", "registry_faults::bad_registry", "--nocapture"]).env(PLAY, "1");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let stdout = child.stdout.take().expect("stdout is piped");
    let listening =
        BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line.contains("listening"));
    assert!(listening, "the bad registry does not listen");
    child
}

/// Not a test of its own: the other side of the test below when it is asked to be.
#[test]
fn bad_registry() {
    if std::env::var_os(PLAY).is_none() {
        assert_eq!(status_of("/v2/broken/manifests/1"), 500);
        assert_eq!(status_of("/v2/liar/manifests/1"), 200);
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:5001").expect("the port is free");
    println!("\nlistening");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || serve(stream));
    }
}

fn status_of(path: &str) -> u16 {
    if path.starts_with("/v2/broken/") { 500 } else { 200 }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (kind, body) = answer(path);
        let status = status_of(path);
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes())?;
        if !request.starts_with("HEAD") {
            stream.write_all(&body)?;
        }
    }
}

/// `liar` serves a proper manifest, but another layer than it promises.
fn answer(path: &str) -> (&'static str, Vec<u8>) {
    let mut tree = image::Tree::default();
    tree.file("a", 0o644, b"promised");
    let promised = tree.image(&["a"]);
    let (layer, config) = (image::digest(&promised.layer), image::digest(&promised.config));
    if path.ends_with(&layer) {
        let mut bytes = promised.layer.clone();
        bytes[20] ^= 1;
        return ("application/octet-stream", bytes);
    }
    if path.ends_with(&config) {
        return ("application/octet-stream", promised.config);
    }
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": kind,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": promised.config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer, "size": promised.layer.len() }],
    });
    (kind, manifest.to_string().into_bytes())
}

#[test]
fn a_registry_that_fails_or_lies_is_named_and_nothing_is_kept() {
    let (host, dir) = (Host::new("faults"), scratch());
    let mut registry = start(&host);
    let dev = Dev::start(&host, dir.path(), &[]);
    let cases = [("broken", "500"), ("liar", "digest")];
    for (name, word) in cases {
        let image = format!("localhost:5001/{name}:1");
        let (exit, said) = failure(&dev.try_ctl(&["container", "run", "--rm", &image]));
        assert_eq!(exit, 125, "{said}");
        assert!(said.contains("localhost:5001") || said.contains("sha256:"), "{said}");
        assert!(said.contains(word), "{said}");
        let (exit, said) = failure(&dev.try_ctl(&["service", "create", "--name", name, &image]));
        assert_eq!(exit, 7, "{said}");
        assert!(said.contains(word), "{said}");
    }
    let images = dev.ctl(&["image", "ls"]);
    assert!(!images.contains("localhost:5001"), "{images}");
    assert_eq!(dev.json(&["service", "ls"]).as_array().map(Vec::len), Some(0));
    let _ = registry.kill();
    let _ = registry.wait();
}
