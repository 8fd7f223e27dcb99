//! The images of this host as lists show them: one entry for each id, with all its names, and on request with its
//! variants and what of them is here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::content::{ContentStore, Digest};
use crate::snapshot::DiffId;

use super::config::{ImageConfig, MAX_CONFIG};
use super::graph::ABOUT;
use super::pattern;
use super::platform::Platform;
use super::store::ImageRecord;
use super::variant::{self, Variant, VariantKind};
use super::{Images, Inner, PullError, Reference, find, graph};

/// An image of this host.
#[derive(Debug, Clone)]
pub struct ImageSummary {
    /// The digest of what its names stand for.
    pub id: Digest,
    /// Its names, in their order; none for a dangling image.
    pub names: Vec<Reference>,
    /// The manifest that is run on this host; of an image for others, theirs.
    pub manifest: Digest,
    /// When it was built, in milliseconds since 1970; 0 when it does not say.
    pub created_at_ms: u64,
    /// When it last got a name, in milliseconds since 1970.
    pub named_at_ms: u64,
    /// Bytes of that manifest, its configuration and layers as they are transferred.
    pub size: u64,
    /// Labels of its configuration.
    pub labels: BTreeMap<String, String>,
    /// What it is made for, if it says.
    pub platform: Option<Platform>,
    /// It can be run on this host.
    pub unpacked: bool,
    /// Only when they are asked for.
    pub variants: Vec<VariantSummary>,
    /// Layers of the manifest, base first.
    pub layers: Vec<DiffId>,
}

/// One manifest of an image.
#[derive(Debug, Clone)]
pub struct VariantSummary {
    /// The manifest.
    pub digest: Digest,
    /// Its type, as its index calls it.
    pub media_type: String,
    /// What it is for.
    pub kind: VariantKind,
    /// Which platform, if it says.
    pub platform: Option<Platform>,
    /// Of an attestation: the manifest it is about.
    pub about: Option<Digest>,
    /// It and all that it names is here.
    pub is_whole: bool,
    /// Bytes of it that are here, as they are transferred.
    pub bytes: u64,
    /// Bytes of its layers' files, where they are unpacked.
    pub unpacked_bytes: u64,
    /// Layers, base first; empty when it is not whole.
    pub layers: Vec<DiffId>,
}

/// Which images a list shows; all of it must hold.
#[derive(Debug, Clone, Default)]
pub struct ImageFilter {
    /// Without a name, or with one.
    pub dangling: Option<bool>,
    /// Patterns of names, alternatives.
    pub references: Vec<String>,
    /// Has each of these labels: `key` or `key=value`.
    pub labels: Vec<String>,
    /// Has none of these.
    pub without_labels: Vec<String>,
    /// Built before this image.
    pub before: Option<String>,
    /// Built after this image.
    pub since: Option<String>,
    /// Built before this moment, in milliseconds since 1970.
    pub until_ms: Option<u64>,
}

impl Images {
    /// The images that `filter` admits, newest first; with `variants` also what each consists of.
    ///
    /// # Errors
    /// When the store cannot be read, or an image that the filter names is not here.
    pub async fn summaries(
        &self,
        filter: &ImageFilter,
        variants: bool,
    ) -> Result<Vec<ImageSummary>, PullError> {
        let records = self.inner.store.records().await?;
        let made = |text: &Option<String>| -> Result<Option<u64>, PullError> {
            let Some(text) = text else { return Ok(None) };
            let found = find::find(records.clone(), text)?;
            Ok(Some(found.record().map_or(0, |record| record.created_at_ms)))
        };
        let (before, since) = (made(&filter.before)?, made(&filter.since)?);
        let inner = Arc::clone(&self.inner);
        let all = tokio::task::spawn_blocking(move || all(&inner, records, variants)).await??;
        let admitted = all.into_iter().filter_map(|image| filter.admit(image)).filter(|image| {
            before.is_none_or(|bound| image.created_at_ms < bound)
                && since.is_none_or(|bound| image.created_at_ms > bound)
        });
        let mut shown: Vec<ImageSummary> = admitted.collect();
        shown.sort_by(|one, other| {
            (other.created_at_ms, &one.names, &one.id).cmp(&(one.created_at_ms, &other.names, &other.id))
        });
        Ok(shown)
    }
}

impl ImageFilter {
    /// The image with those of its names that are asked for, if it is asked for.
    fn admit(&self, mut image: ImageSummary) -> Option<ImageSummary> {
        let has = |label: &String| has_label(&image.labels, label);
        let fits = self.dangling.is_none_or(|dangling| image.names.is_empty() == dangling)
            && self.until_ms.is_none_or(|until| image.created_at_ms < until)
            && self.labels.iter().all(has)
            && !self.without_labels.iter().any(has);
        if !self.references.is_empty() {
            image.names.retain(|name| self.references.iter().any(|wanted| is_called(name, wanted)));
            if image.names.is_empty() {
                return None;
            }
        }
        fits.then_some(image)
    }
}

/// Whether labels have `key` or `key=value`.
fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|own| own == value),
        None => labels.contains_key(wanted),
    }
}

/// With its tag or without it, as people write it; in full where the pattern names Docker's registry.
fn is_called(name: &Reference, wanted: &str) -> bool {
    let mut forms = vec![name.familiar_repository(), name.to_string()];
    if wanted.starts_with("docker.io/") {
        forms.extend([name.repository(), name.full()]);
    }
    forms.iter().any(|form| pattern::matches(wanted, form))
}

fn all(
    inner: &Inner,
    records: Vec<ImageRecord>,
    with_variants: bool,
) -> Result<Vec<ImageSummary>, PullError> {
    let mut by_id: BTreeMap<Digest, Vec<ImageRecord>> = BTreeMap::new();
    for record in records {
        by_id.entry(record.id().clone()).or_default().push(record);
    }
    let mut sizes = BTreeMap::new();
    let mut images = Vec::new();
    for (id, records) in by_id {
        let Some(record) = records.first().cloned() else { continue };
        let config = configuration(inner, &record);
        let said = config.as_ref().map(ImageConfig::platform);
        let variants = match with_variants {
            true => variant::all(inner.content.as_ref(), &id)?,
            false => Vec::new(),
        };
        let mut names: Vec<Reference> = records.iter().filter_map(|record| record.name.clone()).collect();
        names.sort_by_key(Reference::full);
        images.push(ImageSummary {
            id,
            names,
            manifest: record.manifest,
            created_at_ms: record.created_at_ms,
            named_at_ms: records.iter().map(|record| record.named_at_ms).max().unwrap_or_default(),
            size: record.size,
            labels: config.map(|config| config.labels).unwrap_or_default(),
            platform: said.filter(Platform::is_known),
            unpacked: record.unpacked,
            variants: variants.into_iter().map(|variant| summary(inner, variant, &mut sizes)).collect(),
            layers: record.layers,
        });
    }
    Ok(images)
}

/// Of an artifact, or where the disk has damaged it, there is none.
fn configuration(inner: &Inner, record: &ImageRecord) -> Option<ImageConfig> {
    if record.layers.is_empty() {
        return None;
    }
    let bytes = inner.content.read_all(&record.config, MAX_CONFIG).ok()?;
    ImageConfig::parse(&bytes).ok().map(|(config, _)| config)
}

fn summary(inner: &Inner, variant: Variant, sizes: &mut BTreeMap<DiffId, u64>) -> VariantSummary {
    let layers = variant.run.as_ref().map(|run| run.diff_ids()).unwrap_or_default();
    let mut unpacked_bytes = 0;
    for layer in &layers {
        let size = sizes
            .entry(layer.clone())
            .or_insert_with(|| inner.snapshots.layer_size(layer).unwrap_or_default());
        unpacked_bytes += *size;
    }
    VariantSummary {
        about: variant.link.annotation(ABOUT).and_then(|digest| digest.parse().ok()),
        digest: variant.link.digest,
        media_type: variant.link.media_type,
        kind: variant.kind,
        platform: variant.platform,
        is_whole: variant.is_whole,
        bytes: variant.bytes,
        unpacked_bytes,
        layers,
    }
}

/// Everything that an image leads to: documents, blobs, and layers by the digests they have unpacked.
pub(super) fn reach(content: &dyn ContentStore, id: &Digest) -> Result<BTreeSet<Digest>, PullError> {
    let mut all = BTreeSet::new();
    graph::reach(content, id, &mut all)?;
    for variant in variant::all(content, id)? {
        all.extend(variant.run.iter().flat_map(variant::Run::diff_ids));
    }
    Ok(all)
}
