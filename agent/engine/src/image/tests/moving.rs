//! Images as archives: what is saved is loaded as the same, and what others write is understood.

use tokio::sync::mpsc;

use super::importing::import;
use super::server::{Answer, Server, properly};
use super::*;
use crate::image::{Image, ImageFilter, InUse, Loaded, Platform, VariantKind};

async fn saved(host: &Host, images: &[&str], platform: Option<&str>) -> Result<Vec<u8>, PullError> {
    let images: Vec<String> = images.iter().map(|image| (*image).to_owned()).collect();
    let platform = platform.map(|platform| platform.parse::<Platform>().unwrap());
    let mut pieces = host.images.save(&images, platform).await?;
    let mut archive = Vec::new();
    while let Some(piece) = pieces.recv().await {
        archive.extend_from_slice(&piece?);
    }
    Ok(archive)
}

async fn load_for(host: &Host, archive: &[u8], platform: Option<&str>) -> Result<Vec<Loaded>, PullError> {
    let (sink, pieces) = mpsc::channel(4);
    let chunks: Vec<bytes::Bytes> = archive.chunks(10_000).map(bytes::Bytes::copy_from_slice).collect();
    tokio::spawn(async move {
        for chunk in chunks {
            if sink.send(Some(chunk)).await.is_err() {
                return;
            }
        }
    });
    let platform = platform.map(|platform| platform.parse().unwrap());
    host.images.load(pieces, platform, |_| {}, &InUse::default).await
}

async fn load(host: &Host, archive: &[u8]) -> Result<Vec<Loaded>, PullError> {
    load_for(host, archive, None).await
}

fn files_of(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut data = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut data).unwrap();
        files.insert(path, data);
    }
    files
}

fn json_of(archive: &[u8], name: &str) -> Value {
    serde_json::from_slice(&files_of(archive)[name]).unwrap()
}

/// An image of one layer for another processor.
fn of_riscv() -> Pushed {
    let layer = tar_of(&[("hello", b"riscv")]);
    let config = json!({"architecture": "riscv64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]}});
    let (layer, config) = (gzip(&layer), config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor("application/json", &config),
        "layers": [descriptor(LAYER, &layer)],
    });
    let layers = vec![Digest::of(&layer)];
    let blobs = BTreeMap::from([(Digest::of(&layer), layer), (Digest::of(&config), config)]);
    Pushed { manifest: manifest.to_string().into_bytes(), content_type: MANIFEST, blobs, layers }
}

async fn of_two_platforms(host: &Host) -> (String, Digest) {
    let (own, foreign) = (Pushed::small(), of_riscv());
    let entry = |image: &Pushed, architecture: &str| {
        let mut entry = descriptor(MANIFEST, &image.manifest);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    };
    let mut attestation = descriptor("application/vnd.oci.image.manifest.v1+json", b"attested");
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    attestation["annotations"] = json!({"vnd.docker.reference.digest": Digest::of(&own.manifest)});
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry(&own, host_architecture()), entry(&foreign, "riscv64"), attestation]});
    let index = index.to_string().into_bytes();
    let digest = Digest::of(&index);
    let (listed, by_digest) = (index.clone(), digest.clone());
    let server = Server::start(move |request| {
        if request.path.ends_with("/1") || request.path.ends_with(&by_digest.to_string()) {
            return Answer::ok(&listed).header("content-type", "application/vnd.oci.image.index.v1+json");
        }
        match properly(&own, request) {
            Answer { status: 404, .. } => properly(&foreign, request),
            answer => answer,
        }
    })
    .await;
    let name = format!("{}/app:1", server.address);
    host.pull(&name).await.unwrap();
    let options = PullOptions { platform: Some("linux/riscv64".parse().unwrap()), ..PullOptions::default() };
    host.images.pull(&reference(&name), &options, |_| {}).await.unwrap();
    (name, digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_kept_whole_and_each_platform_is_here_or_not() {
    let host = Host::new().await;
    let (name, digest) = of_two_platforms(&host).await;
    let all = host.images.summaries(&ImageFilter::default(), true).await.unwrap();
    let [image] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((&image.id, image.unpacked), (&digest, true));
    let shown: Vec<_> = image
        .variants
        .iter()
        .map(|variant| (variant.kind, variant.platform.as_ref().map(ToString::to_string), variant.is_whole))
        .collect();
    let host_platform = Platform::host().to_string();
    assert_eq!(
        shown,
        [
            (VariantKind::Image, Some(host_platform.clone()), true),
            (VariantKind::Image, Some("linux/riscv64".to_owned()), true),
            (VariantKind::Attestation, None, false),
        ]
    );
    let here = host.images.get(&reference(&name)).await.unwrap().unwrap();
    assert_eq!((here.unpacked, &here.id), (true, &digest));
    let foreign = host.images.describe(&name, Some(&"linux/riscv64".parse().unwrap())).await.unwrap();
    assert_eq!(foreign.config["architecture"], "riscv64");
    let fault = host.images.describe(&name, Some(&"linux/s390x".parse().unwrap())).await.unwrap_err();
    assert!(fault.to_string().contains(&format!("{host_platform}, linux/riscv64 only")), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_is_loaded_as_the_same_on_another_host() {
    let (one, two) = (Host::new().await, Host::new().await);
    let (name, digest) = of_two_platforms(&one).await;
    import(&one, "own:1", b"own").await;
    let archive = saved(&one, &[&name, "own:1"], None).await.unwrap();
    assert_eq!(
        archive,
        saved(&one, &["own:1", &name], None).await.unwrap(),
        "the same images, the same archive"
    );
    let loaded = load(&two, &archive).await.unwrap();
    assert_eq!(loaded.len(), 2);
    let of = |all: Vec<crate::image::ImageSummary>| {
        all.into_iter().map(|image| (image.id, image.names, image.size, image.layers)).collect::<Vec<_>>()
    };
    let everything = ImageFilter::default();
    assert_eq!(
        of(one.images.summaries(&everything, false).await.unwrap()),
        of(two.images.summaries(&everything, false).await.unwrap())
    );
    assert_eq!(one.names("content/blobs/sha256"), two.names("content/blobs/sha256"));
    let image = two.images.get(&reference(&name)).await.unwrap().unwrap();
    assert_eq!((image.id, image.unpacked), (digest, true));
    assert_eq!(read(&two.snapshots.layer_path(&image.layers[1]).join("hello")), "top");
    assert_eq!(load(&two, &gzip(&archive)).await.unwrap().len(), 2, "compressed, and a second time");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_platforms_one_can_be_saved_and_loaded() {
    let (one, two) = (Host::new().await, Host::new().await);
    let (name, _) = of_two_platforms(&one).await;
    let archive = saved(&one, &[&name], Some("linux/riscv64")).await.unwrap();
    let [loaded] = load(&two, &archive).await.unwrap().try_into().unwrap();
    assert_eq!(loaded.names, [reference(&name)]);
    let image = two.images.get(&reference(&name)).await.unwrap().unwrap();
    assert_eq!((image.unpacked, image.config.architecture.as_str()), (false, "riscv64"));
    assert!(two.names("snapshots/layers").is_empty());
    let fault = saved(&one, &[&name], Some("linux/s390x")).await.unwrap_err();
    assert!(fault.to_string().contains("not for linux/s390x"), "{fault}");
    let whole = saved(&one, &[&name], None).await.unwrap();
    let three = Host::new().await;
    let fault = load_for(&three, &whole, Some("linux/s390x")).await.unwrap_err();
    assert!(fault.to_string().contains("not for linux/s390x"), "{fault}");
    assert!(three.names("content/blobs/sha256").is_empty(), "nothing of it is kept");
    load_for(&three, &whole, Some("linux/riscv64")).await.unwrap();
    assert_eq!(three.names("content/blobs/sha256").len(), 3, "a manifest, a configuration, a layer");
}

#[tokio::test]
async fn an_archive_says_in_dockers_words_what_it_holds() {
    let host = Host::new().await;
    let image: Image = import(&host, "web:2", b"x").await;
    let archive = saved(&host, &["web:2"], None).await.unwrap();
    let manifest = json_of(&archive, "manifest.json");
    assert_eq!(manifest[0]["RepoTags"], json!(["web:2"]));
    let (config, layer) =
        (manifest[0]["Config"].as_str().unwrap(), manifest[0]["Layers"][0].as_str().unwrap());
    assert_eq!(config, format!("blobs/sha256/{}", image.config_digest.hex()));
    assert!(files_of(&archive).contains_key(layer));
    let index = json_of(&archive, "index.json");
    let annotations = &index["manifests"][0]["annotations"];
    assert_eq!(annotations["io.containerd.image.name"], "docker.io/library/web:2");
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "2");
    assert_eq!(json_of(&archive, "oci-layout")["imageLayoutVersion"], "1.0.0");
    let by_id = saved(&host, &[image.id.short()], None).await.unwrap();
    assert_eq!(json_of(&by_id, "manifest.json")[0]["RepoTags"], Value::Null);
    assert!(saved(&host, &["nobody"], None).await.is_err());
}

/// As `docker save` wrote before it wrote layouts: layers first, a link among them, documents last.
fn old_archive(config: &Value, layer: &[u8], layers: &[&str]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut put = |path: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, data).unwrap();
    };
    put("aa/VERSION", b"1.0");
    put("aa/layer.tar", layer);
    put("config.json", config.to_string().as_bytes());
    let manifest = json!([{"Config": "config.json", "RepoTags": ["old:1"], "Layers": layers}]);
    put("manifest.json", manifest.to_string().as_bytes());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    archive.append_link(&mut link, "bb/layer.tar", "../aa/layer.tar").unwrap();
    archive.into_inner().unwrap()
}

#[tokio::test]
async fn archives_of_older_dockers_are_loaded_and_leave_nothing_else() {
    let host = Host::new().await;
    let layer = tar_of(&[("hello", b"old")]);
    let diff_id = Digest::of(&layer);
    let config = json!({"architecture": host_architecture(), "os": "linux", "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id, diff_id]}});
    let archive = old_archive(&config, &layer, &["aa/layer.tar", "bb/layer.tar"]);
    let [loaded] = load(&host, &archive).await.unwrap().try_into().unwrap();
    assert_eq!(loaded.names, [reference("old:1")]);
    let image = host.images.get(&reference("old:1")).await.unwrap().unwrap();
    assert_eq!(image.config_digest, Digest::of(config.to_string().as_bytes()), "the id it had there");
    assert_eq!(read(&host.snapshots.layer_path(&image.layers[0]).join("hello")), "old");
    assert_eq!(host.names("content/blobs/sha256").len(), 3, "manifest, configuration, layer");
    assert!(host.names("content/ingest").is_empty());
}

/// An archive of one empty file, whose name the tar crate would not write.
fn tar_of_path(path: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path);
    header.set_size(0);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, std::io::empty()).unwrap();
    archive.into_inner().unwrap()
}

#[tokio::test]
async fn what_is_no_archive_of_images_or_a_wrong_one_is_refused_and_leaves_nothing() {
    let host = Host::new().await;
    let layer = tar_of(&[("hello", b"old")]);
    let config = |diff_id: &Digest| {
        json!({"architecture": host_architecture(), "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id]}})
    };
    let good = Digest::of(&layer);
    let hostile = tar_of(&[(".wh.", b"")]);
    let layout = |index: Value| tar_of(&[("index.json", index.to_string().as_bytes())]);
    let blob = format!("blobs/sha256/{}", good.hex());
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"nothing of the kind".repeat(100), "malformed"),
        (tar_of(&[("etc/passwd", b"root")]), "neither index.json nor manifest.json"),
        (old_archive(&config(&good), &layer, &["aa/layer.tar", "aa/layer.tar"]), "2 layers"),
        (old_archive(&config(&good), &layer, &["none"]), "names none"),
        (old_archive(&config(&Digest::of(b"other")), &layer, &["aa/layer.tar"]), "configuration says"),
        (old_archive(&config(&Digest::of(&hostile)), &hostile, &["aa/layer.tar"]), "whiteout"),
        (tar_of(&[(&blob, b"not it")]), "has digest"),
        (layout(json!({"manifests": []})), "names no images"),
        (layout(json!({"manifests": [descriptor(MANIFEST, b"x")]})), "which is not in it"),
        (tar_of(&[("a", b"1"), ("a", b"2")]), "stands in it twice"),
        (vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0], "zstd"),
        (tar_of_path(b"../../etc/x"), ".."),
        (gzip(&layer)[..40].to_vec(), "cannot be loaded"),
    ];
    for (archive, expected) in cases {
        let fault = load(&host, &archive).await.unwrap_err().to_string();
        assert!(fault.contains(expected), "{expected}: {fault}");
        assert!(host.names("content/blobs/sha256").is_empty(), "{expected}");
        host.assert_untouched().await;
    }
}
