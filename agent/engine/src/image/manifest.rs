//! Manifests and indexes: OCI image spec 1.1 and Docker schema 2. Pure; the bytes were checked against their digest.
//!
//! A document is read by its media type, never by guessing, and one that could be read as both a manifest and an
//! index is refused (CVE-2021-41190): two programs would run two different images under one digest.

use serde::{Deserialize, Serialize};

use super::platform::Platform;
use crate::content::Digest;

/// Longest manifest or index, in bytes; what registries agree on.
pub(super) const MAX_MANIFEST: u64 = 4 << 20;
/// overlayfs mounts a few hundred lowers, and Docker makes no image of more than 127 layers.
const MAX_LAYERS: usize = 256;
const MAX_INDEX: usize = 1000;
/// Longest layer as it is transferred, in bytes: 256 GiB.
const MAX_LAYER: u64 = 1 << 38;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What is asked of a registry.
pub(super) const ACCEPT: &str = concat!(
    "application/vnd.oci.image.index.v1+json, ",
    "application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, ",
    "application/vnd.docker.distribution.manifest.v2+json"
);
/// The media type of manifests that are made here.
pub(super) const OWN_MANIFEST: &str = OCI_MANIFEST;
/// The media type of configurations that are made here.
pub(super) const OWN_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of layers that are made here: uncompressed, so that no compressor's version changes a digest.
pub(super) const OWN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Compression {
    /// Not, or as its first bytes say.
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Compression {
    /// What the first bytes of a file say; at least ten, if it has them.
    pub(super) fn of(head: &[u8]) -> Self {
        let is_bzip2 = head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY");
        match head {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ if is_bzip2 => Self::Bzip2,
            _ => Self::None,
        }
    }
}

/// A blob that a manifest names.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    platform: Option<Platform>,
}

impl Descriptor {
    /// Of a layer that was made here.
    pub(super) fn own_layer(digest: Digest, size: u64) -> Self {
        Self { media_type: OWN_LAYER.to_owned(), digest, size, platform: None }
    }
}

/// A manifest of one image.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<(Descriptor, Compression)>,
}

/// What a reference leads to.
#[derive(Debug, Clone)]
pub(super) enum Document {
    Manifest(Manifest),
    /// The manifest of this platform within an index.
    Index(Descriptor),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// This machine in the words of image platforms.
pub(super) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Document {
    /// Reads a document; `content_type` is what the registry called it.
    pub(super) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, String> {
        Self::parse_for(bytes, content_type, &Platform::host())
    }

    /// As [`Document::parse`], choosing from an index what is for this platform.
    pub(super) fn parse_for(
        bytes: &[u8],
        content_type: Option<&str>,
        platform: &Platform,
    ) -> Result<Self, String> {
        let raw: Raw =
            serde_json::from_slice(bytes).map_err(|fault| format!("its manifest does not parse: {fault}"))?;
        if raw.schema_version != 2 || raw.fs_layers.is_some() {
            return Err(
                "its manifest is of schema version 1, which has been withdrawn; push it with a newer client"
                    .into(),
            );
        }
        if raw.manifests.is_some() && (raw.layers.is_some() || raw.config.is_some()) {
            return Err("its manifest is ambiguous: it has both layers and manifests".into());
        }
        let called = content_type.and_then(|text| text.split(';').next()).map(str::trim);
        match is_index(&raw, called)? {
            true => choose(&raw.manifests.ok_or("its index names no manifests")?, platform).map(Self::Index),
            false => manifest(raw).map(Self::Manifest),
        }
    }
}

/// The document's own media type decides, then what the registry called it, then its shape; the first two must agree.
fn is_index(raw: &Raw, called: Option<&str>) -> Result<bool, String> {
    let known = |text: &str| match text {
        OCI_INDEX | DOCKER_LIST => Some(true),
        OCI_MANIFEST | DOCKER_MANIFEST => Some(false),
        _ => None,
    };
    let own = match raw.media_type.as_deref() {
        Some(text) => {
            Some(known(text).ok_or_else(|| format!("its manifest is of the unknown type {text:.100?}"))?)
        }
        None => None,
    };
    match (own, called.and_then(known)) {
        (Some(own), Some(called)) if own != called => {
            Err("its manifest is ambiguous: the registry calls it something else than it does itself".into())
        }
        (Some(kind), _) | (None, Some(kind)) => Ok(kind),
        (None, None) => Ok(raw.manifests.is_some()),
    }
}

fn manifest(raw: Raw) -> Result<Manifest, String> {
    let config = raw.config.ok_or("its manifest names no configuration")?;
    let layers = raw.layers.ok_or("its manifest names no layers")?;
    if layers.len() > MAX_LAYERS {
        return Err(format!("it has {} layers, the limit is {MAX_LAYERS}", layers.len()));
    }
    if layers.iter().any(|layer| layer.size > MAX_LAYER) {
        return Err(format!("a layer is longer than {MAX_LAYER} bytes"));
    }
    let layers = layers.into_iter().map(|layer| Ok((layer.clone(), compression(&layer.media_type)?)));
    Ok(Manifest { config, layers: layers.collect::<Result<_, String>>()? })
}

fn compression(media_type: &str) -> Result<Compression, String> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        OWN_LAYER | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        // Of no specification, and written all the same.
        "application/vnd.oci.image.layer.v1.tar+bzip2" => Ok(Compression::Bzip2),
        "application/vnd.oci.image.layer.v1.tar+xz" => Ok(Compression::Xz),
        other if other.contains("foreign") || other.contains("nondistributable") => {
            Err("a layer must be fetched from elsewhere (a Windows base layer), which is not supported"
                .into())
        }
        other => Err(format!("a layer is of the unknown type {other:.100?}")),
    }
}

fn choose(manifests: &[Descriptor], wanted: &Platform) -> Result<Descriptor, String> {
    if manifests.len() > MAX_INDEX {
        return Err(format!("its index has {} entries, the limit is {MAX_INDEX}", manifests.len()));
    }
    let fits = |platform: &Platform| wanted.admits(platform);
    if let Some(found) = manifests.iter().find(|manifest| manifest.platform.as_ref().is_some_and(fits)) {
        return Ok(found.clone());
    }
    match manifests {
        // What it is for says its configuration then.
        [only] if only.platform.is_none() => Ok(only.clone()),
        _ => {
            let offered = manifests.iter().filter_map(|manifest| manifest.platform.as_ref());
            let offered: Vec<String> =
                offered.filter(|platform| platform.is_known()).take(20).map(ToString::to_string).collect();
            Err(format!("it is not made for {wanted}, only for {}", offered.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{HEX}","size":3}}"#)
    }

    fn manifest_with(layer: &str) -> String {
        let (config, layer) = (descriptor(OWN_CONFIG), descriptor(layer));
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{config},"layers":[{layer}]}}"#)
    }

    fn refusal(text: &str, content_type: Option<&str>) -> String {
        Document::parse(text.as_bytes(), content_type).unwrap_err()
    }

    #[test]
    fn manifests_and_their_layers_are_read() {
        let text = manifest_with("application/vnd.docker.image.rootfs.diff.tar.gzip");
        let Ok(Document::Manifest(manifest)) = Document::parse(text.as_bytes(), Some(OCI_MANIFEST)) else {
            panic!("no manifest");
        };
        assert_eq!((manifest.layers.len(), manifest.layers[0].1), (1, Compression::Gzip));
        let text = manifest_with("application/vnd.oci.image.layer.v1.tar+zstd");
        let Ok(Document::Manifest(manifest)) = Document::parse(text.as_bytes(), None) else {
            panic!("no manifest");
        };
        assert_eq!(manifest.layers[0].1, Compression::Zstd);
        assert!(refusal(&manifest_with("text/html"), None).contains("unknown type"));
    }

    #[test]
    fn the_entry_of_this_platform_is_chosen_from_an_index() {
        let entry = |arch: &str, digit: &str| {
            let digest = digit.repeat(64);
            format!(
                r#"{{"digest":"sha256:{digest}","size":3,"platform":{{"os":"linux","architecture":"{arch}"}}}}"#
            )
        };
        let index = |entries: &str| format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
        let text =
            index(&[entry("unknown", "a"), entry(host_architecture(), "b"), entry("riscv64", "c")].join(","));
        let Ok(Document::Index(found)) = Document::parse(text.as_bytes(), Some(OCI_INDEX)) else {
            panic!("no index")
        };
        assert_eq!(found.digest.hex(), "b".repeat(64));
        let fault = refusal(&index(&entry("s390x", "a")), Some(OCI_INDEX));
        assert!(fault.ends_with("only for linux/s390x"), "{fault}");
    }

    #[test]
    fn ambiguous_and_withdrawn_documents_are_refused() {
        let both = format!(
            r#"{{"schemaVersion":2,"layers":[],"manifests":[],"config":{}}}"#,
            descriptor(OWN_CONFIG)
        );
        assert!(refusal(&both, None).contains("both layers and manifests"));
        assert!(refusal(&manifest_with(OWN_LAYER), Some(OCI_INDEX)).contains("ambiguous"));
        assert!(refusal(r#"{"schemaVersion":1,"fsLayers":[]}"#, None).contains("schema version 1"));
        assert!(refusal(r#"{"schemaVersion":2,"layers":[],"layers":[]}"#, None).contains("duplicate"));
        assert!(refusal(r#"{"schemaVersion":2,"mediaType":"application/x"}"#, None).contains("unknown type"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>, content_type in prop::option::of("\\PC{0,30}")) {
            let _ = Document::parse(&bytes, content_type.as_deref());
        }
    }
}
