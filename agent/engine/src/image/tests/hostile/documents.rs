//! Its manifests are huge, circular, or mean two things at once.

use super::*;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// It serves this as the manifest, and everything else as well as it can.
async fn manifest(what: &str, bytes: Vec<u8>, kind: &'static str) -> String {
    let (said, heard) = play(what, move |request, _| match request.authorization {
        None => basic(),
        Some(_) if request.path.contains("/manifests/") => Answer::ok(&bytes).header("content-type", kind),
        Some(_) => Answer::status(404),
    })
    .await;
    assert_eq!(heard, "");
    said
}

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_lead_to_one_manifest_or_nowhere() {
    // A digest cannot name itself; a tag can lead into any depth.
    let (said, _) = play("an index that names indexes", |request, _| {
        if request.authorization.is_none() {
            return basic();
        }
        let inner = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string();
        let entry = json!({"mediaType": OCI_INDEX, "digest": Digest::of(inner.as_bytes()), "size": inner.len(),
            "platform": {"os": "linux", "architecture": host_architecture()}});
        let outer = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).to_string();
        let bytes = if request.path.ends_with("/1") { outer } else { inner };
        Answer::ok(bytes.as_bytes()).header("content-type", OCI_INDEX)
    })
    .await;
    assert!(said.contains("not made for") || said.contains("another index"), "{said}");
    let (said, _) = play("an index that names itself", |request, _| {
        if request.authorization.is_none() {
            return basic();
        }
        let entry = json!({"mediaType": OCI_INDEX, "digest": digest("a"), "size": 3,
            "platform": {"os": "linux", "architecture": host_architecture()}});
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).to_string();
        Answer::ok(index.as_bytes()).header("content-type", OCI_INDEX)
    })
    .await;
    assert!(said.contains("instead: the registry or the network"), "{said}");
    let entry = json!({"digest": digest("a"), "size": 3, "platform": {"os": "linux", "architecture": "z80"}});
    let many = json!({"schemaVersion": 2, "manifests": vec![entry; 20_000]}).to_string().into_bytes();
    assert!(manifest("twenty thousand entries", many, OCI_INDEX).await.contains("the limit is"));
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_can_be_read_two_ways_are_refused() {
    let both = json!({"schemaVersion": 2, "layers": [], "manifests": []}).to_string().into_bytes();
    assert!(manifest("layers and manifests", both, MANIFEST).await.contains("ambiguous"));
    let image = Pushed::small();
    let said = manifest("a manifest that is called an index", image.manifest.clone(), OCI_INDEX).await;
    assert!(said.contains("ambiguous"), "{said}");
    let twice = br#"{"schemaVersion":2,"config":{},"config":{},"layers":[]}"#.to_vec();
    assert!(!manifest("the same member twice", twice, MANIFEST).await.is_empty());
    let old = br#"{"schemaVersion":1,"fsLayers":[]}"#.to_vec();
    assert!(manifest("schema 1", old, "application/json").await.contains("schema version 1"));
    let odd = br#"{"schemaVersion":2,"mediaType":"text/html"}"#.to_vec();
    assert!(manifest("another media type", odd, "text/html").await.contains("unknown type"));
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_beyond_measure_are_refused() {
    let deep = [b"{\"schemaVersion\":2,\"x\":".to_vec(), b"[".repeat(1_000_000)].concat();
    assert!(manifest("a million brackets", deep, MANIFEST).await.contains("does not parse"));
    let layer = |size: u64| json!({"mediaType": LAYER, "digest": digest("b"), "size": size});
    let config = |size: u64| json!({"mediaType": "application/json", "digest": digest("c"), "size": size});
    let with = |config: Value, layers: Vec<Value>| {
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})
            .to_string()
            .into_bytes()
    };
    let said = manifest("ten thousand layers", with(config(3), vec![layer(3); 10_000]), MANIFEST).await;
    assert!(said.contains("the limit is"), "{said}");
    let said = manifest("a configuration without measure", with(config(u64::MAX), vec![]), MANIFEST).await;
    assert!(said.contains("configuration is longer"), "{said}");
    let said = manifest("a layer without measure", with(config(3), vec![layer(u64::MAX)]), MANIFEST).await;
    assert!(said.contains("a layer is longer than"), "{said}");
    let mut negative = layer(3);
    negative["size"] = json!(-1);
    let said = manifest("a layer below zero", with(config(3), vec![negative]), MANIFEST).await;
    assert!(said.contains("does not parse"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_are_digests_and_nothing_is_fetched_from_elsewhere() {
    for bad in
        ["sha256:../../../etc/shadow", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:", "", "sha256:zz"]
    {
        let layer = json!({"mediaType": LAYER, "digest": bad, "size": 3});
        let document = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [layer],
            "config": {"mediaType": "application/json", "digest": digest("c"), "size": 3}});
        let said = manifest(bad, document.to_string().into_bytes(), MANIFEST).await;
        assert!(said.contains("does not parse"), "{said}");
    }
    let image = Pushed::new(&[tar_of(&[("a", b"b")])]);
    let (said, heard) = play("layers with addresses of their own", move |request, to| {
        behind_login(&image, request, |request, answer| {
            if request.path.contains("/manifests/") {
                let mut document: Value = serde_json::from_slice(&image.manifest).unwrap();
                document["layers"][0]["urls"] =
                    json!([format!("{}/layer", to.port), format!("{}/layer", to.tls)]);
                Answer::ok(document.to_string().as_bytes()).header("content-type", MANIFEST)
            } else if request.path.contains(image.layers[0].hex()) {
                Answer::status(404)
            } else {
                answer
            }
        })
    })
    .await;
    assert!(said.contains("404"), "{said}");
    assert_eq!(heard, "", "an address in a manifest is not asked");
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let archive = tar_of(&[("a", b"b")]);
    let foreign = Pushed::assemble(&[gzip(&archive)], &[Digest::of(&archive)], foreign);
    assert!(manifest("a foreign layer", foreign.manifest, MANIFEST).await.contains("fetched from elsewhere"));
}
