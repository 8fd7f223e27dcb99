//! The variants of an image: the manifests its index names, one for each platform, attestations and artifacts among
//! them; an image without an index has one. Which of them are here, which one is run on this host, and what its
//! record says then.

use std::sync::Arc;

use crate::content::{ContentError, ContentStore, Digest};
use crate::snapshot::DiffId;

use super::config::{ImageConfig, MAX_CONFIG};
use super::graph::{self, ABOUT, Link, Node};
use super::manifest::{Document, MAX_MANIFEST};
use super::platform::Platform;
use super::pull::Layer;
use super::store::{ImageRecord, Origin};
use super::{Inner, PullError};

/// What a manifest of an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariantKind {
    /// It can be run, on its platform.
    Image,
    /// It says something about another one: where it came from, what is in it.
    Attestation,
    /// Anything else.
    Artifact,
}

/// One manifest of an image.
#[derive(Debug, Clone)]
pub(super) struct Variant {
    pub(super) link: Link,
    pub(super) kind: VariantKind,
    pub(super) platform: Option<Platform>,
    /// It and all that it names is here.
    pub(super) is_whole: bool,
    /// Bytes of it that are here.
    pub(super) bytes: u64,
    pub(super) run: Option<Run>,
}

/// What is run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) config: ImageConfig,
    pub(super) config_digest: Digest,
    pub(super) layers: Vec<Layer>,
}

impl Run {
    pub(super) fn diff_ids(&self) -> Vec<DiffId> {
        self.layers.iter().map(|layer| layer.diff_id.clone()).collect()
    }
}

/// Reads a manifest and its configuration strictly; both must be here.
///
/// # Errors
/// In words, what is wrong with it.
pub(super) fn read(content: &dyn ContentStore, manifest: &Digest) -> Result<Run, String> {
    let words = |error: ContentError| error.to_string();
    let bytes = content.read_all(manifest, MAX_MANIFEST).map_err(words)?;
    let Document::Manifest(manifest) = Document::parse(&bytes, None)? else {
        return Err("its manifest is an index".to_owned());
    };
    let bytes = content.read_all(&manifest.config.digest, MAX_CONFIG).map_err(words)?;
    let (config, diff_ids) = ImageConfig::parse(&bytes)?;
    if manifest.layers.len() != diff_ids.len() {
        let (layers, named) = (manifest.layers.len(), diff_ids.len());
        return Err(format!("its manifest has {layers} layers, its configuration {named}"));
    }
    let layers = manifest.layers.into_iter().zip(diff_ids);
    let layers = layers.map(|((blob, compression), diff_id)| Layer { blob, compression, diff_id }).collect();
    Ok(Run { config, config_digest: manifest.config.digest, layers })
}

/// All variants below `root`, in the order of the index. Blocking.
///
/// # Errors
/// When a document that is here cannot be read.
pub(super) fn all(content: &dyn ContentStore, root: &Digest) -> Result<Vec<Variant>, PullError> {
    let root = Link {
        media_type: String::new(),
        digest: root.clone(),
        size: 0,
        platform: None,
        annotations: None,
        artifact_type: None,
    };
    graph::manifests(content, &root)?
        .into_iter()
        .map(|(link, node)| look(content, link, node.as_ref()))
        .collect()
}

fn look(content: &dyn ContentStore, mut link: Link, node: Option<&Node>) -> Result<Variant, PullError> {
    let is_attestation = link.annotation(ABOUT).is_some();
    let (mut is_whole, mut bytes) = (node.is_some(), 0);
    if let Some(node) = node {
        let own = content.size(&link.digest)?.unwrap_or_default();
        (link.size, bytes) = (own, own);
        if link.media_type.is_empty() {
            link.media_type = node.media_type.clone().unwrap_or_default();
        }
        for leaf in node.leaves() {
            match content.size(&leaf.digest)? {
                Some(size) => bytes += size,
                None => is_whole = false,
            }
        }
    }
    let says_image = link.platform.as_ref().is_none_or(Platform::is_known) && !is_attestation;
    let run = if is_whole && says_image { read(content, &link.digest).ok() } else { None };
    let kind = match (is_attestation, &run, &link.platform) {
        (true, ..) => VariantKind::Attestation,
        (_, Some(run), _) if !run.layers.is_empty() => VariantKind::Image,
        (_, None, Some(platform)) if platform.is_known() && !is_whole => VariantKind::Image,
        _ => VariantKind::Artifact,
    };
    let said = run.as_ref().map(|run| run.config.platform()).filter(Platform::is_known);
    let platform = link.platform.clone().filter(Platform::is_known).or(said);
    Ok(Variant { link, kind, platform, is_whole, bytes, run })
}

/// The variant for a platform that is whole, if there is one.
pub(super) fn choose<'v>(variants: &'v [Variant], platform: &Platform) -> Option<&'v Variant> {
    variants.iter().find(|variant| {
        variant.is_whole
            && variant.run.is_some()
            && variant.kind == VariantKind::Image
            // One that does not say what it is for is for any.
            && variant.platform.as_ref().is_none_or(|own| platform.admits(own))
    })
}

/// What a record says of `root`, without its name: about this host's variant if that is here, else about the one for
/// `wanted`, else about any. Blocking.
///
/// # Errors
/// When nothing of it is here.
pub(super) fn describe(
    inner: &Inner,
    root: &Digest,
    wanted: &Platform,
    origin: Origin,
) -> Result<ImageRecord, PullError> {
    let variants = all(inner.content.as_ref(), root)?;
    let host = choose(&variants, &Platform::host());
    let image = host
        .or_else(|| choose(&variants, wanted))
        .or_else(|| variants.iter().find(|variant| variant.is_whole && variant.kind == VariantKind::Image));
    let chosen = image.or_else(|| variants.iter().find(|variant| variant.is_whole));
    let chosen = chosen.ok_or_else(|| PullError::Unusable {
        image: root.to_string(),
        reason: "none of the manifests it names is whole on this host".to_owned(),
    })?;
    let (config, layers) = match &chosen.run {
        Some(run) => (run.config_digest.clone(), run.diff_ids()),
        None => (chosen.link.digest.clone(), Vec::new()),
    };
    let mut blobs = std::collections::BTreeSet::new();
    graph::reach(inner.content.as_ref(), &chosen.link.digest, &mut blobs)?;
    let unpacked = host.is_some() && layers.iter().all(|layer| inner.snapshots.has_layer(layer));
    Ok(ImageRecord {
        name: None,
        target: Some(root.clone()),
        manifest: chosen.link.digest.clone(),
        config,
        layers,
        blobs: blobs.into_iter().collect(),
        size: chosen.bytes,
        created_at_ms: chosen.run.as_ref().map_or(0, |run| run.config.created_at_ms()),
        unpacked,
        origin,
        named_at_ms: 0,
    })
}

/// Unpacks this host's variant of `root`, if it is here. Blocking.
///
/// # Errors
/// When a layer cannot be unpacked, or is not what the configuration says.
pub(super) fn unpack(inner: &Arc<Inner>, root: &Digest, told: &dyn Fn(&Layer)) -> Result<(), PullError> {
    let variants = all(inner.content.as_ref(), root)?;
    let Some(run) = choose(&variants, &Platform::host()).and_then(|variant| variant.run.as_ref()) else {
        return Ok(());
    };
    for layer in run.layers.iter().filter(|layer| !inner.snapshots.has_layer(&layer.diff_id)) {
        told(layer);
        super::pull::unpack_stored(inner, layer)?;
    }
    Ok(())
}
