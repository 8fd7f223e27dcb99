//! Names, and what stays and goes with them.

use std::collections::BTreeSet;

use super::importing::import;
use super::server::{Answer, Server, properly};
use super::*;
use crate::image::{Image, ImageFilter, InUse, Reclaimed, Removal, User};

fn nobody() -> InUse {
    InUse::default()
}

fn by(image: &Image) -> InUse {
    InUse {
        layers: image.layers.iter().cloned().collect(),
        manifests: BTreeSet::from([image.manifest_digest.clone()]),
    }
}

async fn remove(host: &Host, text: &str, force: bool, users: &[User]) -> Result<Vec<Removal>, PullError> {
    let users = users.to_vec();
    host.images.remove(text, force, &|_, _| users.clone(), &nobody).await
}

/// Names of blobs and layers that are here, and nothing half made.
fn contents(host: &Host) -> (usize, usize) {
    for path in ["content/ingest", "snapshots/incoming", "snapshots/trash"] {
        assert_eq!(host.names(path), Vec::<String>::new(), "{path}");
    }
    (host.names("content/blobs/sha256").len(), host.names("snapshots/layers").len())
}

async fn names(host: &Host) -> Vec<String> {
    let all = host.images.summaries(&ImageFilter::default(), false).await.unwrap();
    let mut names: Vec<String> = all
        .iter()
        .flat_map(|image| match image.names.as_slice() {
            [] => vec!["<none>".to_owned()],
            names => names.iter().map(ToString::to_string).collect(),
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_image_goes_with_its_last_name_and_takes_only_its_own() {
    let host = Host::new().await;
    let kept = import(&host, "kept", b"1").await;
    let gone = import(&host, "gone:1", b"2").await;
    host.images.tag("gone:1", &reference("other:2")).await.unwrap();
    assert_eq!(contents(&host), (6, 2));
    let untagged = remove(&host, "gone:1", false, &[]).await.unwrap();
    assert_eq!(untagged, [Removal::Untagged(reference("gone:1"))]);
    assert_eq!(contents(&host), (6, 2));
    let deleted = remove(&host, "other:2", false, &[]).await.unwrap();
    assert_eq!(deleted, [Removal::Untagged(reference("other:2")), Removal::Deleted(gone.id.clone())]);
    assert_eq!(contents(&host), (3, 1));
    assert!(host.snapshots.has_layer(&kept.layers[0]) && !host.snapshots.has_layer(&gone.layers[0]));
    let fault = remove(&host, "gone:1", false, &[]).await.unwrap_err();
    assert!(fault.to_string().contains("is not on this host"), "{fault}");
    import(&host, "gone:1", b"2").await;
    assert_eq!(contents(&host), (6, 2), "what was removed can be made again");
}

#[tokio::test]
async fn an_id_stands_for_all_names_only_when_that_is_forced() {
    let host = Host::new().await;
    let image = import(&host, "a:1", b"1").await;
    host.images.tag(image.id.short(), &reference("b:1")).await.unwrap();
    let fault = remove(&host, image.id.short(), false, &[]).await.unwrap_err();
    assert!(fault.to_string().contains("a:1, b:1") && fault.to_string().contains("--force"), "{fault}");
    assert_eq!(remove(&host, image.id.short(), true, &[]).await.unwrap().len(), 3);
    assert_eq!((contents(&host), names(&host).await.len()), ((0, 0), 0));
}

#[tokio::test]
async fn what_containers_use_is_refused_and_forced_it_stays_without_a_name() {
    let host = Host::new().await;
    let image = import(&host, "used", b"1").await;
    let user = [User { name: "web".to_owned(), is_running: true }];
    let fault = remove(&host, "used", false, &user).await.unwrap_err();
    assert!(fault.to_string().contains("used by web (running)"), "{fault}");
    assert_eq!(names(&host).await, ["used:latest"]);
    let done = remove(&host, "used", true, &user).await.unwrap();
    assert_eq!(done, [Removal::Untagged(reference("used"))]);
    assert_eq!((names(&host).await, contents(&host)), (vec!["<none>".to_owned()], (3, 1)));
    let fault = remove(&host, image.id.short(), true, &user).await.unwrap_err();
    assert!(fault.to_string().contains("once they are removed"), "{fault}");
    assert_eq!(remove(&host, image.id.short(), false, &[]).await.unwrap(), [Removal::Deleted(image.id)]);
    assert_eq!(contents(&host), (0, 0));
}

#[tokio::test]
async fn an_image_that_loses_its_name_to_another_stays_until_it_is_pruned() {
    let host = Host::new().await;
    let first = import(&host, "one", b"1").await;
    let second = import(&host, "two", b"2").await;
    host.images.tag("two", &reference("one")).await.unwrap();
    assert_eq!(names(&host).await, ["<none>", "one:latest", "two:latest"]);
    let dangling = ImageFilter { dangling: Some(true), ..ImageFilter::default() };
    assert_eq!(host.images.summaries(&dangling, false).await.unwrap()[0].id, first.id);
    // A name for it again, and it dangles no more.
    host.images.tag(first.id.short(), &reference("three")).await.unwrap();
    assert_eq!(names(&host).await, ["one:latest", "three:latest", "two:latest"]);
    host.images.tag("two", &reference("three")).await.unwrap();
    let none = |_: &BTreeSet<Digest>, _: &[Reference]| Vec::new();
    let (removed, reclaimed) =
        host.images.prune(false, &ImageFilter::default(), &none, &nobody).await.unwrap();
    assert_eq!((removed, reclaimed.layers, reclaimed.blobs), (vec![Removal::Deleted(first.id)], 1, 3));
    assert!(reclaimed.bytes() > 1000 && host.snapshots.has_layer(&second.layers[0]));
    let some = |_: &BTreeSet<Digest>, _: &[Reference]| vec![User { name: "c".to_owned(), is_running: false }];
    assert!(
        host.images.prune(true, &ImageFilter::default(), &some, &|| by(&second)).await.unwrap().0.is_empty()
    );
    let (removed, _) = host.images.prune(true, &ImageFilter::default(), &none, &nobody).await.unwrap();
    assert_eq!((removed.len(), contents(&host)), (4, (0, 0)));
}

#[tokio::test]
async fn what_images_and_containers_use_stays_and_the_rest_goes() {
    let host = Host::new().await;
    let kept = import(&host, "kept", b"1").await;
    let running = import(&host, "running", b"2").await;
    let done = host.images.remove("running", true, &|_, _| Vec::new(), &|| by(&running)).await.unwrap();
    assert_eq!(done.len(), 2);
    assert_eq!(contents(&host), (6, 2), "its container needs all of it, also for a commit");
    host.images.inner.content.write_all(b"nobody's", Default::default()).unwrap();
    let reclaimed = host.images.collect(|| by(&running)).await.unwrap();
    assert_eq!((reclaimed.blobs, reclaimed.layers), (1, 0));
    assert!(host.snapshots.has_layer(&kept.layers[0]) && host.snapshots.has_layer(&running.layers[0]));
    assert_eq!(host.images.collect(|| by(&running)).await.unwrap(), Reclaimed::default());
    assert_eq!(host.images.collect(nobody).await.unwrap().layers, 1);
    assert!(host.images.get(&reference("kept")).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_running_pull_is_collected() {
    let host = Host::new().await;
    let image = Pushed::small();
    let (served, gate) = (image.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let open = std::sync::Arc::clone(&gate);
    let last = image.layers[1].to_string();
    let server = Server::start(move |request| {
        let held = request.path.contains(&last) && !gate.load(std::sync::atomic::Ordering::SeqCst);
        let delay = if held { Duration::from_millis(1500) } else { Duration::ZERO };
        Answer { delay, ..properly(&served, request) }
    })
    .await;
    let images = host.images.clone();
    let name = reference(&format!("{}/app:1", server.address));
    let pull = tokio::spawn(async move { images.pull(&name, &PullOptions::default(), |_| {}).await });
    while host.names("snapshots/layers").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reclaimed = host.images.collect(nobody).await.unwrap();
    assert_eq!(reclaimed, Reclaimed::default());
    open.store(true, std::sync::atomic::Ordering::SeqCst);
    let pulled = pull.await.unwrap().unwrap();
    assert_eq!((contents(&host), pulled.layers.len()), ((4, 2), 2));
    assert_eq!(host.images.collect(nobody).await.unwrap(), Reclaimed::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_may_come_and_go_while_garbage_is_collected_all_the_time() {
    let host = Host::new().await;
    let images = host.images.clone();
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = std::sync::Arc::clone(&over);
    let collecting = tokio::spawn(async move {
        let mut count = 0;
        while !ended.load(std::sync::atomic::Ordering::SeqCst) {
            images.collect(nobody).await.unwrap();
            count += 1;
        }
        count
    });
    for round in 0..40_u8 {
        let image = import(&host, "one", &[round]).await;
        host.images.tag("one", &reference("two")).await.unwrap();
        remove(&host, "one", false, &[]).await.unwrap();
        let mut saved = host.images.save(&["two".to_owned()], None).await.unwrap();
        while let Some(piece) = saved.recv().await {
            piece.unwrap();
        }
        assert!(host.snapshots.has_layer(&image.layers[0]), "round {round}");
        remove(&host, "two", false, &[]).await.unwrap();
    }
    over.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(collecting.await.unwrap() > 40);
    host.images.collect(nobody).await.unwrap();
    assert_eq!(contents(&host), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn unpacked_layers_go_with_compressed_ones() {
    let host = Host::new().await;
    let server = Server::of(Pushed::small()).await;
    let name = format!("{}/app:1", server.address);
    host.pull(&name).await.unwrap();
    assert_eq!(contents(&host), (4, 2));
    remove(&host, &name, false, &[]).await.unwrap();
    assert_eq!(contents(&host), (0, 0));
}
