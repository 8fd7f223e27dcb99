//! All there is to know about one image, and how it was made.

use std::sync::Arc;

use serde_json::Value;

use crate::content::Digest;
use crate::snapshot::DiffId;

use super::catalogue::ImageSummary;
use super::platform::Platform;
use super::variant;
use super::{ImageFilter, Images, PullError, Reference};

/// One image.
#[derive(Debug, Clone)]
pub struct Description {
    /// Names, sizes and variants.
    pub summary: ImageSummary,
    /// The name by which it was found, if that was one.
    pub name: Option<Reference>,
    /// The variant that `config` is of.
    pub manifest: Digest,
    /// Its platform, if it says.
    pub platform: Option<Platform>,
    /// Its layers, base first.
    pub layers: Vec<DiffId>,
    /// Bytes of it that are here.
    pub size: u64,
    /// Its whole configuration; `null` of an artifact.
    pub config: Value,
}

/// A step of how an image was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// RFC 3339; empty when it does not say.
    pub created: String,
    /// What was done.
    pub created_by: String,
    /// Free text.
    pub comment: String,
    /// Bytes of the layer as it is transferred; 0 for a step without one.
    pub size: u64,
    /// The layer, if the step made one.
    pub layer: Option<DiffId>,
}

impl Images {
    /// One image, or its variant for a platform.
    ///
    /// # Errors
    /// When it is not here, or not for that platform.
    pub async fn describe(&self, text: &str, platform: Option<&Platform>) -> Result<Description, PullError> {
        let found = self.find(text).await?;
        let all = self.summaries(&ImageFilter::default(), true).await?;
        let summary = all.into_iter().find(|image| image.id == found.id);
        let summary = summary.ok_or_else(|| PullError::Absent { image: text.to_owned() })?;
        let (inner, id, wanted) = (Arc::clone(&self.inner), found.id.clone(), platform.cloned());
        let manifest = summary.manifest.clone();
        let text = text.to_owned();
        tokio::task::spawn_blocking(move || {
            let variants = variant::all(inner.content.as_ref(), &id)?;
            let chosen = match &wanted {
                Some(platform) => variant::choose(&variants, platform),
                None => variants.iter().find(|variant| variant.link.digest == manifest),
            };
            let Some(chosen) = chosen else {
                return match wanted {
                    Some(platform) => Err(not_for(&text, &platform, &variants)),
                    None => Err(PullError::Absent { image: text }),
                };
            };
            let config = match &chosen.run {
                Some(run) => serde_json::from_str(&run.config.raw).unwrap_or_default(),
                None => Value::Null,
            };
            Ok(Description {
                name: found.name,
                manifest: chosen.link.digest.clone(),
                platform: chosen.platform.clone(),
                layers: chosen.run.as_ref().map(|run| run.diff_ids()).unwrap_or_default(),
                size: chosen.bytes,
                config,
                summary,
            })
        })
        .await?
    }

    /// How an image was made, the last step first.
    ///
    /// # Errors
    /// As [`Images::describe`].
    pub async fn history(
        &self,
        text: &str,
        platform: Option<&Platform>,
    ) -> Result<Vec<HistoryLine>, PullError> {
        let description = self.describe(text, platform).await?;
        let (inner, manifest) = (Arc::clone(&self.inner), description.manifest.clone());
        let layers = tokio::task::spawn_blocking(move || {
            let run = variant::read(inner.content.as_ref(), &manifest).ok();
            let layers = run.map(|run| run.layers).unwrap_or_default();
            layers.into_iter().map(|layer| (layer.diff_id, layer.blob.size)).collect::<Vec<_>>()
        })
        .await?;
        Ok(lines(&description.config, layers))
    }
}

/// What a platform is not here for.
pub(super) fn not_for(image: &str, wanted: &Platform, variants: &[variant::Variant]) -> PullError {
    let here: Vec<String> = variants
        .iter()
        .filter(|variant| variant.is_whole && variant.kind == variant::VariantKind::Image)
        .filter_map(|variant| variant.platform.as_ref().map(ToString::to_string))
        .collect();
    let reason = match here.as_slice() {
        [] => format!("it is not on this host for {wanted}"),
        here => format!("it is on this host for {} only, not for {wanted}", here.join(", ")),
    };
    PullError::Unusable { image: image.to_owned(), reason }
}

/// Joins steps and layers. Layers that no step accounts for, as of tools that write no history, stand by themselves.
fn lines(config: &Value, layers: Vec<(DiffId, u64)>) -> Vec<HistoryLine> {
    let text = |step: &Value, key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut layers = layers.into_iter();
    let mut lines: Vec<HistoryLine> = Vec::new();
    for step in config.get("history").and_then(Value::as_array).into_iter().flatten() {
        let is_empty = step.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
        let layer = if is_empty { None } else { layers.next() };
        lines.push(HistoryLine {
            created: text(step, "created"),
            created_by: text(step, "created_by"),
            comment: text(step, "comment"),
            size: layer.as_ref().map_or(0, |(_, size)| *size),
            layer: layer.map(|(layer, _)| layer),
        });
    }
    lines.extend(layers.map(|(layer, size)| HistoryLine {
        created: String::new(),
        created_by: String::new(),
        comment: String::new(),
        size,
        layer: Some(layer),
    }));
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_without_a_layer_have_no_size_and_layers_without_a_step_are_shown() {
        let layers: Vec<(DiffId, u64)> = vec![(Digest::of(b"1"), 10), (Digest::of(b"2"), 20)];
        let config = json!({"history": [
            {"created_by": "ADD x", "comment": "c"},
            {"created_by": "ENV y", "empty_layer": true},
        ]});
        let lines = lines(&config, layers);
        let shown: Vec<_> = lines.iter().map(|line| (line.created_by.as_str(), line.size)).collect();
        assert_eq!(shown, [("", 20), ("ENV y", 0), ("ADD x", 10)]);
    }
}
