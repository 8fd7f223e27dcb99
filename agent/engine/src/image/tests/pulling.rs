//! Pulls that work, also where the registry or the network is difficult.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;

use super::server::{Answer, Server, properly};
use super::*;
use crate::image::LayerStep;

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_image_is_unpacked_recorded_and_not_fetched_again() {
    let host = Host::new().await;
    let server = Server::of(Pushed::small()).await;
    let name = format!("{}/app:1", server.address);
    let image = host.pull(&name).await.unwrap();
    assert_eq!((image.name.to_string(), image.config.cmd.clone()), (name.clone(), vec!["/hello".to_owned()]));
    let [base, top] = image.layers.as_slice() else { panic!("two layers") };
    assert_eq!(read(&host.snapshots.layer_path(base).join("hello")), "base");
    assert_eq!(read(&host.snapshots.layer_path(top).join("hello")), "top");
    let known = host.images.get(&reference(&name)).await.unwrap().unwrap();
    assert_eq!((known.manifest_digest, known.layers), (image.manifest_digest, image.layers));
    host.pull(&name).await.unwrap();
    assert_eq!((server.count("/blobs/"), server.count("/manifests/")), (3, 2), "{:?}", server.seen());
    assert_eq!(host.images.list().await.unwrap().len(), 1);
    assert!(host.names("snapshots/incoming").is_empty() && host.names("content/ingest").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_there_after_a_restart() {
    let mut host = Host::new().await;
    let server = Server::of(Pushed::small()).await;
    let name = format!("{}/app", server.address);
    host.pull(&name).await.unwrap();
    host.records.close().await;
    host.records = Records::open(host.dir.path().join("records")).await.unwrap();
    let content = LocalContent::open(host.dir.path().join("content")).unwrap();
    let snapshots = Snapshots::open(host.dir.path().join("snapshots")).unwrap();
    let images = Images::open(content, snapshots, &host.records, RegistryOptions::default());
    assert!(images.get(&reference(&name)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn this_platforms_manifest_is_taken_from_an_index_and_a_digest_pins_it() {
    let host = Host::new().await;
    let image = Pushed::small();
    let entry = |architecture: &str, bytes: &[u8]| {
        let mut entry = descriptor(MANIFEST, bytes);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    };
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry("riscv64", b"x"), entry(host_architecture(), &image.manifest)]});
    let index = index.to_string().into_bytes();
    let digest = Digest::of(&index);
    let (served, by_digest) = (image.clone(), digest.clone());
    let server = Server::start(move |request| {
        if request.path.ends_with("/1") || request.path.ends_with(&by_digest.to_string()) {
            return Answer::ok(&index)
                .header("content-type", "application/vnd.oci.image.index.v1+json; charset=utf-8");
        }
        properly(&served, request)
    })
    .await;
    let pulled = host.pull(&format!("{}/app:1", server.address)).await.unwrap();
    assert_eq!(pulled.manifest_digest, Digest::of(&image.manifest));
    let pinned = format!("{}/app@{digest}", server.address);
    host.pull(&pinned).await.unwrap();
    let asked = server.seen().len();
    host.pull(&pinned).await.unwrap();
    assert_eq!(server.seen().len(), asked, "a pinned image that is here needs no registry");
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_at_the_same_time_share_the_image_and_its_layers() {
    let host = Host::new().await;
    let server = Server::of(Pushed::small()).await;
    let names: Vec<String> = (0..12).map(|n| format!("{}/app:{}", server.address, n % 2)).collect();
    for outcome in join_all(names.iter().map(|name| host.pull(name))).await {
        outcome.unwrap();
    }
    // Two tags at once may both miss the configuration, which is tiny; layers are fetched once.
    let image = Pushed::small();
    for layer in &image.layers {
        assert_eq!(server.count(&layer.to_string()), 1, "{:?}", server.seen());
    }
    assert_eq!(server.count("/manifests/"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_pass_are_waited_out() {
    let host = Host::new().await;
    // One layer, so that requests come one after the other and the pattern holds.
    let (image, requests) = (Pushed::new(&[tar_of(&[("a", b"b")])]), AtomicUsize::new(0));
    let server = Server::start(move |request| match requests.fetch_add(1, Ordering::SeqCst) % 3 {
        2 => properly(&image, request),
        0 => Answer::status(503),
        _ => Answer { cut: Some(0), ..properly(&image, request) },
    })
    .await;
    host.pull(&format!("{}/app", server.address)).await.unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(server.seen().len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_layer_comes_in_parts_side_by_side_and_in_order() {
    // All is well; each part breaks once; the third one never comes whole.
    for (case, works) in [("well", true), ("broken", true), ("never", false)] {
        let options = RegistryOptions { segment: 100_000, ..RegistryOptions::default() };
        let host = Host::with(options).await;
        let image = Pushed::new(&[tar_of(&[("big", &noise(2_000_000))])]);
        let (layer, size) = (image.layers[0].to_string(), image.blobs[&image.layers[0]].len());
        let (served, watched) = (image.clone(), layer.clone());
        let broken = Mutex::new(std::collections::BTreeSet::new());
        let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let highest = Arc::clone(&most);
        let server = Server::start(move |request| {
            let answer = properly(&served, request);
            if !request.path.ends_with(&watched) {
                return answer;
            }
            highest.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            under_way.fetch_sub(1, Ordering::SeqCst);
            let first = broken.lock().unwrap().insert(request.range.clone());
            let third = request.range.as_deref().is_some_and(|range| range.starts_with("bytes=200000-"));
            match case {
                "broken" if first => Answer { cut: Some(answer.body.len() / 2), ..answer },
                "never" if third => Answer { cut: Some(1), ..answer },
                _ => answer,
            }
        })
        .await;
        let outcome = host.pull(&format!("{}/app", server.address)).await;
        assert_eq!(outcome.is_ok(), works, "{case}: {outcome:?}");
        let ranges: Vec<_> = server.seen().into_iter().filter_map(|seen| seen.range).collect();
        if case == "well" {
            assert_eq!(ranges.len(), size.div_ceil(100_000), "{ranges:?}");
            assert!((2..=3).contains(&most.load(Ordering::SeqCst)), "side by side, and not too many");
            let layer = host.snapshots.layer_path(&outcome.unwrap().layers[0]);
            assert_eq!(fs::read(layer.join("big")).unwrap(), noise(2_000_000));
        } else if !works {
            host.assert_untouched().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_download_goes_on_where_it_broke() {
    for ranges in [true, false] {
        let host = Host::new().await;
        let image = Pushed::new(&[tar_of(&[("big", &noise(3_000_000))])]);
        let layer = image.layers[0].to_string();
        let (served, watched) = (image.clone(), layer.clone());
        let (breaks, most) = (AtomicUsize::new(0), if ranges { 3 } else { 9 });
        let server = Server::start(move |request| {
            let mut request = request.clone();
            if !ranges {
                request.range = None;
            }
            let answer = properly(&served, &request);
            match request.path.ends_with(&watched) && breaks.fetch_add(1, Ordering::SeqCst) < most {
                true => Answer { cut: Some(answer.body.len() / 2), ..answer },
                false => answer,
            }
        })
        .await;
        let outcome = host.pull(&format!("{}/app", server.address)).await;
        if ranges {
            outcome.unwrap();
            let from: Vec<_> = server.seen().into_iter().filter_map(|seen| seen.range).collect();
            assert_eq!(from.len(), 3, "{from:?}");
            assert_ne!(from[0], from[1], "each goes on where the last one broke");
        } else {
            // Always half from the start brings nothing new after the first: six such tries are enough.
            assert!(outcome.is_err());
            host.assert_untouched().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_dropped_leaves_nothing_and_can_be_repeated() {
    let host = Host::new().await;
    let image = Pushed::new(&[tar_of(&[("big", &noise(2_000_000))])]);
    let layer = image.layers[0].to_string();
    let slow = Mutex::new(true);
    let server = Server::start(move |request| {
        let answer = properly(&image, request);
        let is_slow = request.path.ends_with(&layer) && std::mem::take(&mut *slow.lock().unwrap());
        Answer { delay: if is_slow { Duration::from_secs(60) } else { Duration::ZERO }, ..answer }
    })
    .await;
    let name = format!("{}/app", server.address);
    let dropped = tokio::time::timeout(Duration::from_millis(700), host.pull(&name)).await;
    assert!(dropped.is_err(), "it should still be waiting");
    for _ in 0..200 {
        if host.names("snapshots/incoming").is_empty() && host.names("content/ingest").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    host.assert_untouched().await;
    host.pull(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_tells_each_layer_from_waiting_to_done() {
    let host = Host::new().await;
    let server = Server::of(Pushed::small()).await;
    let heard = Mutex::new(Vec::new());
    let name = reference(&format!("{}/app", server.address));
    host.images.pull(&name, &PullOptions::default(), |step| heard.lock().unwrap().push(step)).await.unwrap();
    let heard = heard.into_inner().unwrap();
    assert_eq!(heard[0], PullProgress::Resolving);
    for layer in Pushed::small().layers {
        let of = |wanted: LayerStep| PullProgress::Layer { digest: layer.clone(), step: wanted };
        let at = |wanted: LayerStep| heard.iter().position(|step| *step == of(wanted));
        let total = Pushed::small().blobs[&layer].len() as u64;
        let order =
            [at(LayerStep::Waiting), at(LayerStep::Fetching { done: total, total }), at(LayerStep::Done)];
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_as_the_registry_asks_with_the_credentials_of_docker_login() {
    let config = tempfile::tempdir().unwrap();
    let path = config.path().join("config.json");
    let options = RegistryOptions { docker_config: Some(path.clone()), ..RegistryOptions::default() };
    let host = Host::with(options).await;
    let image = Pushed::small();
    let own = std::sync::Arc::new(Mutex::new(String::new()));
    let address = std::sync::Arc::clone(&own);
    let server = Server::start(move |request| {
        let realm = format!("http://{}/token", address.lock().unwrap());
        let challenge =
            format!("Bearer realm=\"{realm}\",service=\"the registry\",scope=\"registry:catalog:*\"");
        if request.path.starts_with("/token?") {
            let known = request.authorization.as_deref() == Some("Basic dXNlcjpwYXNz");
            return if known { Answer::ok(br#"{"token":"abc.def"}"#) } else { Answer::status(401) };
        }
        match request.authorization.as_deref() {
            Some("Bearer abc.def") => properly(&image, request),
            _ => Answer::status(401).header("www-authenticate", challenge),
        }
    })
    .await;
    server.address.clone_into(&mut own.lock().unwrap());
    let name = format!("{}/app", server.address);
    let fault = host.pull(&name).await.unwrap_err();
    assert!(matches!(fault, PullError::Denied { .. }), "{fault}");
    let auths = json!({"auths": {server.address.clone(): {"auth": "dXNlcjpwYXNz"}}});
    fs::write(&path, auths.to_string()).unwrap();
    host.pull(&name).await.unwrap();
    let asked = server.seen().into_iter().rfind(|seen| seen.path.starts_with("/token")).unwrap();
    assert_eq!(asked.path, "/token?service=the+registry&scope=repository%3Aapp%3Apull");
}
