//! Images end to end on a real directory: against a registry in the test that can misbehave in every way
//! (`tests/server.rs`), and against Debian's docker-registry. Needs root, as unpacking does.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::manifest::host_architecture;
use super::{Images, PullError, PullOptions, PullProgress, Reference, RegistryOptions};
use crate::content::{Digest, LocalContent};
use crate::records::Records;
use crate::snapshot::Snapshots;

mod compressions;
mod hostile;
mod importing;
mod keeping;
mod mirrors;
mod moving;
mod pulling;
mod pushing;
mod real_registry;
mod refusing;
mod server;

/// An engine's image layers on a directory of their own.
struct Host {
    dir: tempfile::TempDir,
    images: Images,
    snapshots: Snapshots,
    records: Records,
}

impl Host {
    async fn new() -> Self {
        Self::with(RegistryOptions::default()).await
    }

    async fn with(options: RegistryOptions) -> Self {
        assert!(rustix::process::geteuid().is_root(), "unpacking sets owners: run this test as root");
        let dir = tempfile::tempdir().unwrap();
        let content = LocalContent::open(dir.path().join("content")).unwrap();
        let snapshots = Snapshots::open(dir.path().join("snapshots")).unwrap();
        let records = Records::open(dir.path().join("records")).await.unwrap();
        let options = RegistryOptions {
            retry_delay: Duration::from_millis(5),
            stall_timeout: options.stall_timeout.min(Duration::from_secs(5)),
            docker_config: options.docker_config.filter(|path| path.starts_with("/tmp")),
            ..options
        };
        let images = Images::open(content, snapshots.clone(), &records, options);
        Self { dir, images, snapshots, records }
    }

    async fn pull(&self, name: &str) -> Result<super::Image, PullError> {
        self.images.pull(&reference(name), &PullOptions::default(), |_: PullProgress| {}).await
    }

    /// Names below a directory of the host, sorted.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join(path)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Nothing half-made: no ingest, no incoming layer, no trash, and no layer or image either.
    async fn assert_untouched(&self) {
        for path in ["content/ingest", "snapshots/incoming", "snapshots/trash", "snapshots/layers"] {
            assert_eq!(self.names(path), Vec::<String>::new(), "{path}");
        }
        assert!(self.images.list().await.unwrap().is_empty());
    }
}

fn reference(name: &str) -> Reference {
    name.parse().unwrap()
}

/// An archive of files with these contents.
fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress, so that a layer has a size.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

/// An image as a registry holds it.
#[derive(Clone)]
struct Pushed {
    manifest: Vec<u8>,
    content_type: &'static str,
    blobs: BTreeMap<Digest, Vec<u8>>,
    /// Digests of the layers' blobs, base first.
    layers: Vec<Digest>,
}

const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

impl Pushed {
    /// An image of gzip layers made from these archives.
    fn new(archives: &[Vec<u8>]) -> Self {
        let layers: Vec<Vec<u8>> = archives.iter().map(|archive| gzip(archive)).collect();
        let diff_ids: Vec<Digest> = archives.iter().map(|archive| Digest::of(archive)).collect();
        Self::assemble(&layers, &diff_ids, LAYER)
    }

    fn assemble(layers: &[Vec<u8>], diff_ids: &[Digest], media_type: &str) -> Self {
        let config = json!({
            "architecture": host_architecture(), "os": "linux", "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor("application/json", &config),
            "layers": layers.iter().map(|layer| descriptor(media_type, layer)).collect::<Vec<_>>(),
        });
        let mut blobs: BTreeMap<Digest, Vec<u8>> =
            layers.iter().map(|layer| (Digest::of(layer), layer.clone())).collect();
        blobs.insert(Digest::of(&config), config);
        Self {
            manifest: manifest.to_string().into_bytes(),
            content_type: MANIFEST,
            blobs,
            layers: layers.iter().map(|layer| Digest::of(layer)).collect(),
        }
    }

    fn small() -> Self {
        Self::new(&[tar_of(&[("hello", b"base")]), tar_of(&[("hello", b"top"), ("more", &noise(100_000))])])
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
