//! Registries that fail, lie or attack: one clear message each, nothing left behind, no credential given away.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::server::{Answer, Seen, Server, properly};
use super::*;

/// Pulls `app:1` from a registry that answers like this, and expects a failure that leaves nothing.
async fn refusal(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (String, Server) {
    let options = RegistryOptions { stall_timeout: Duration::from_millis(500), ..RegistryOptions::default() };
    let host = Host::with(options).await;
    let server = Server::start(handler).await;
    let fault = host.pull(&format!("{}/app:1", server.address)).await.unwrap_err();
    host.assert_untouched().await;
    (fault.to_string(), server)
}

/// As [`refusal`], with one image whose answers are changed in passing.
async fn spoiled(
    image: Pushed,
    spoil: impl Fn(&Seen, Answer) -> Answer + Send + Sync + 'static,
) -> (String, Server) {
    refusal(move |request| spoil(request, properly(&image, request))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_answers_500_is_tried_three_times_and_named() {
    let (fault, server) = refusal(|_| Answer::status(500)).await;
    let expected =
        format!("registry {} answered 500 Internal Server Error for manifest app:1", server.address);
    assert_eq!((fault, server.seen().len()), (expected, 3));
    let (fault, server) =
        spoiled(
            Pushed::small(),
            |request, answer| if request.path.contains("/blobs/") { Answer::status(502) } else { answer },
        )
        .await;
    assert!(
        fault.starts_with(&format!("registry {} answered 502 Bad Gateway for configuration", server.address)),
        "{fault}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_is_said_to_be_not_found() {
    let (fault, server) = refusal(|_| Answer::status(404)).await;
    assert_eq!(fault, format!("image {}/app:1 not found in the registry", server.address));
    assert_eq!(server.seen().len(), 1, "asking again would not help");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_there_is_named_with_its_address() {
    let host = Host::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let fault = host.pull(&format!("{address}/app:1")).await.unwrap_err().to_string();
    assert!(
        fault.starts_with(&format!("cannot reach registry {address}: ")) && fault.contains("refused"),
        "{fault}"
    );
    host.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_with_a_wrong_digest_is_refused_with_both_digests() {
    let image = Pushed::new(&[tar_of(&[("a", &noise(100_000))])]);
    let layer = image.layers[0].clone();
    let mut damaged = image.blobs[&layer].clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let (path, body) = (layer.to_string(), damaged.clone());
    let (fault, _) =
        spoiled(
            image.clone(),
            move |request, answer| if request.path.ends_with(&path) { Answer::ok(&body) } else { answer },
        )
        .await;
    let actual = Digest::of(&damaged);
    assert_eq!(
        fault,
        format!("layer {layer} has digest {actual} instead: the registry or the network damaged it")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_exact() {
    let image = Pushed::new(&[tar_of(&[("a", &noise(10_000))])]);
    let layer = image.layers[0].to_string();
    for change in [-1_i64, 1] {
        let path = layer.clone();
        let (fault, _) = spoiled(image.clone(), move |request, mut answer| {
            if request.path.ends_with(&path) {
                answer
                    .body
                    .resize(answer.body.len().saturating_add_signed(isize::try_from(change).unwrap()), 0);
            }
            answer
        })
        .await;
        assert!(fault.contains("bytes long, its manifest says"), "{fault}");
    }
    let (fault, _) = spoiled(image.clone(), move |request, answer| {
        if request.path.contains("/blobs/") { Answer { endless: true, ..answer } } else { answer }
    })
    .await;
    assert!(fault.contains("it is longer than the"), "{fault}");
    let (fault, _) = spoiled(image, |_, answer| Answer { cut: Some(answer.body.len() / 2), ..answer }).await;
    assert!(fault.starts_with("cannot reach registry"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_sends_nothing_or_never_ends_is_given_up() {
    let started = Instant::now();
    let (fault, _) = refusal(|_| Answer { delay: Duration::from_secs(600), ..Answer::ok(b"{}") }).await;
    assert!(fault.contains("sent nothing of manifest app:1 for 0.5 s"), "{fault}");
    let (fault, _) = refusal(|_| Answer { endless: true, ..Answer::ok(b"") }).await;
    assert!(fault.contains("longer than 4194304 bytes"), "{fault}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_does_not_follow_a_redirect_to_another_origin() {
    let image = Pushed::small();
    let config = tempfile::tempdir().unwrap();
    let path = config.path().join("config.json");
    let host =
        Host::with(RegistryOptions { docker_config: Some(path.clone()), ..RegistryOptions::default() }).await;
    let storage = Server::of(image.clone()).await;
    let elsewhere = storage.address.clone();
    let server = Server::start(move |request| match request.authorization.as_deref() {
        None => Answer::status(401).header("www-authenticate", "Basic realm=\"x\""),
        Some(_) if request.path.contains("/blobs/") => {
            Answer::status(307).header("location", format!("http://{elsewhere}{}", request.path))
        }
        Some(_) => properly(&image, request),
    })
    .await;
    let auths = json!({"auths": {server.address.clone(): {"username": "user", "password": "pass"}}});
    fs::write(&path, auths.to_string()).unwrap();
    host.pull(&format!("{}/app", server.address)).await.unwrap();
    assert_eq!(storage.count("/blobs/"), 3);
    assert!(storage.seen().iter().all(|seen| seen.authorization.is_none()), "{:?}", storage.seen());
    assert!(server.seen().iter().any(|seen| seen.authorization.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_do_not_go_to_a_realm_elsewhere_and_redirects_end() {
    let config = tempfile::tempdir().unwrap();
    let path = config.path().join("config.json");
    let host =
        Host::with(RegistryOptions { docker_config: Some(path.clone()), ..RegistryOptions::default() }).await;
    let thief = Server::start(|_| Answer::ok(br#"{"token":"x"}"#)).await;
    // Another name for this host is another host, and plain http.
    let realm = thief.address.replace("127.0.0.1", "localhost");
    let server = Server::start(move |_| {
        Answer::status(401).header("www-authenticate", format!("Bearer realm=\"http://{realm}/token\""))
    })
    .await;
    let auths = json!({"auths": {server.address.clone(): {"auth": "dXNlcjpwYXNz"}}});
    fs::write(&path, auths.to_string()).unwrap();
    let fault = host.pull(&format!("{}/app", server.address)).await.unwrap_err().to_string();
    assert!(fault.contains("neither https nor on the registry's own host"), "{fault}");
    assert!(thief.seen().is_empty());
    let (fault, server) =
        refusal(|request| Answer::status(302).header("location", request.path.clone())).await;
    assert!(fault.contains("redirects too often"), "{fault}");
    assert_eq!(server.seen().len(), 6);
    let (fault, _) = refusal(|_| Answer::status(302).header("location", "file:///etc/passwd")).await;
    assert!(fault.contains("unprotected address"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_contradict_themselves_are_refused() {
    let archive = tar_of(&[("a", b"b")]);
    let layer = gzip(&archive);
    let right = Digest::of(&archive);
    let wrong = Digest::of(b"something else");
    let cases = [
        (
            Pushed::assemble(std::slice::from_ref(&layer), std::slice::from_ref(&wrong), LAYER),
            "configuration says",
        ),
        (
            Pushed::assemble(std::slice::from_ref(&layer), &[], LAYER),
            "its manifest has 1 layers, its configuration 0",
        ),
        (
            Pushed::assemble(std::slice::from_ref(&archive), std::slice::from_ref(&right), LAYER),
            "cannot be decompressed",
        ),
        (Pushed::new(&[tar_of(&[("a", b"b")])[..700].to_vec()]), "cannot be unpacked"),
        (Pushed::new(&[tar_of(&[(".wh.", b"")])]), "whiteout of no file"),
    ];
    for (image, expected) in cases {
        let (fault, _) = spoiled(image, |_, answer| answer).await;
        assert!(fault.contains(expected), "{expected}: {fault}");
    }
    let both = json!({"schemaVersion": 2, "layers": [], "manifests": []}).to_string();
    let (fault, _) = refusal(move |_| Answer::ok(both.as_bytes())).await;
    assert!(fault.contains("both layers and manifests"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_stopped_and_its_blob_goes_too() {
    let mut host = Host::new().await;
    let image = Pushed::new(&[tar_of(&[("zeros", &vec![0; 8 << 20])])]);
    let layer = image.layers[0].clone();
    let server = Server::of(image).await;
    let inner = Arc::get_mut(&mut host.images.inner).unwrap();
    inner.limits.ratio_free_bytes = 1 << 20;
    inner.limits.ratio = 20;
    let fault = host.pull(&format!("{}/app", server.address)).await.unwrap_err().to_string();
    assert_eq!(
        fault,
        format!("layer {layer} cannot be decompressed: it inflates to more than 20 times its size")
    );
    host.assert_untouched().await;
    assert!(!host.names("content/blobs/sha256").contains(&layer.hex().to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_message() {
    let config = tempfile::tempdir().unwrap();
    let path = config.path().join("config.json");
    let host =
        Host::with(RegistryOptions { docker_config: Some(path.clone()), ..RegistryOptions::default() }).await;
    let said = Arc::new(Mutex::new(0));
    let count = Arc::clone(&said);
    let server = Server::start(move |_| {
        *count.lock().unwrap() += 1;
        Answer::status(401).header("www-authenticate", "Basic realm=\"x\"")
    })
    .await;
    let auths = json!({"auths": {server.address.clone(): {"username": "user", "password": "hunter2"}}});
    fs::write(&path, auths.to_string()).unwrap();
    let fault = host.pull(&format!("{}/app", server.address)).await.unwrap_err();
    let text = format!("{fault} {fault:?} {:?}", host.images);
    assert!(!text.contains("hunter2") && !text.contains("dXNlcjpodW50ZXIy"), "{text}");
    assert_eq!(*said.lock().unwrap(), 2, "asked once with and once without");
}
