//! Images from memory.

use super::*;

pub(super) async fn import(host: &Host, name: &str, text: &[u8]) -> super::super::Image {
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
