//! Images from memory, and the collection of what nobody needs.

use std::collections::BTreeSet;

use super::server::Server;
use super::*;
use crate::image::Reclaimed;

async fn import(host: &Host, name: &str, text: &[u8]) -> super::super::Image {
    let layers = vec![tar_of(&[("hello", text)])];
    host.images.import(&reference(name), layers, json!({"config": {"Entrypoint": ["/hello"]}})).await.unwrap()
}

#[tokio::test]
async fn an_import_is_the_same_everywhere_and_twice_is_once() {
    let (one, two) = (Host::new().await, Host::new().await);
    let first = import(&one, "roadstead/hello", b"hello").await;
    let again = import(&one, "roadstead/hello", b"hello").await;
    let other = import(&two, "roadstead/hello", b"hello").await;
    assert_eq!((&first.manifest_digest, &first.layers), (&again.manifest_digest, &again.layers));
    assert_eq!(
        (&first.manifest_digest, &first.config_digest),
        (&other.manifest_digest, &other.config_digest)
    );
    assert_eq!(first.config.entrypoint, ["/hello"]);
    assert_eq!(first.name.full(), "docker.io/roadstead/hello:latest");
    assert_eq!(read(&one.snapshots.layer_path(&first.layers[0]).join("hello")), "hello");
    assert_eq!(one.images.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_configuration_that_is_none_and_a_hostile_layer_are_refused() {
    let host = Host::new().await;
    let name = reference("x");
    let fault = host.images.import(&name, Vec::new(), json!([])).await.unwrap_err();
    assert!(fault.to_string().starts_with("cannot import x:latest"), "{fault}");
    let fault = host.images.import(&name, vec![tar_of(&[(".wh.", b"")])], json!({})).await.unwrap_err();
    assert!(fault.to_string().contains("whiteout of no file"), "{fault}");
    host.assert_untouched().await;
}

#[tokio::test]
async fn what_images_and_containers_use_stays_and_the_rest_goes() {
    let host = Host::new().await;
    let kept = import(&host, "kept", b"1").await;
    let running = import(&host, "running", b"2").await;
    let gone = import(&host, "gone", b"3").await;
    for name in ["running", "gone"] {
        assert!(host.images.remove(&reference(name)).await.unwrap());
        assert!(!host.images.remove(&reference(name)).await.unwrap());
    }
    let in_use: BTreeSet<Digest> = running.layers.iter().cloned().collect();
    let reclaimed = host.images.collect(|| in_use.clone()).await.unwrap();
    assert_eq!((reclaimed.blobs, reclaimed.layers), (6, 1));
    assert!(host.snapshots.has_layer(&kept.layers[0]) && host.snapshots.has_layer(&running.layers[0]));
    assert!(!host.snapshots.has_layer(&gone.layers[0]));
    assert_eq!(host.images.collect(|| in_use).await.unwrap(), Reclaimed::default());
    assert!(host.images.get(&reference("kept")).await.unwrap().is_some());
    import(&host, "gone", b"3").await;
    assert!(host.snapshots.has_layer(&gone.layers[0]), "what was collected can be made again");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_collected_under_a_running_pull() {
    let host = Host::new().await;
    let server = Server::start(|_| super::server::Answer {
        delay: Duration::from_secs(60),
        ..super::server::Answer::ok(b"{}")
    })
    .await;
    let images = host.images.clone();
    let name = reference(&format!("{}/app", server.address));
    let pull = tokio::spawn(async move { images.pull(&name, |_| {}).await.map(|_| ()) });
    while server.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(host.images.collect(BTreeSet::new).await, Err(PullError::Busy)));
    pull.abort();
    assert!(pull.await.is_err());
    host.images.collect(BTreeSet::new).await.unwrap();
}
