//! The records of images: names, and what each stands for. The documents themselves stay in the content store, since
//! they have no bound that a record could take.
//!
//! An image that loses its last name to another image is kept without a name, under its digest, until somebody
//! removes it: as in Docker, a pull or a build takes nothing away by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::content::{ContentStore, Digest};
use crate::records::{Batch, Durability, Records, Table};
use crate::snapshot::DiffId;

use super::config::MAX_CONFIG;
use super::{Image, ImageConfig, PullError, Reference};

/// Where an image came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Origin {
    /// Nobody wrote it down, or it was made or loaded here: it may be the only copy.
    #[default]
    Here,
    /// A registry has it, too.
    Registry,
}

/// What is written down of a name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ImageRecord {
    /// `None`: nothing names it.
    #[serde(default)]
    pub(super) name: Option<Reference>,
    /// What the name stands for: an index, a manifest, any document. Old records have none.
    #[serde(default)]
    pub(super) target: Option<Digest>,
    /// The manifest that is run here: this host's if that is here, else another one.
    pub(super) manifest: Digest,
    pub(super) config: Digest,
    /// Base first; empty when it is no image that can be run.
    pub(super) layers: Vec<DiffId>,
    /// The blobs of the manifest that is run here.
    pub(super) blobs: Vec<Digest>,
    pub(super) size: u64,
    pub(super) created_at_ms: u64,
    /// Its layers are unpacked: it can be run on this host.
    #[serde(default = "yes")]
    pub(super) unpacked: bool,
    #[serde(default)]
    pub(super) origin: Origin,
    /// When the name came to stand for it, in milliseconds since 1970.
    #[serde(default)]
    pub(super) named_at_ms: u64,
}

fn yes() -> bool {
    true
}

impl ImageRecord {
    /// What the name stands for, which is the image's id.
    pub(super) fn id(&self) -> &Digest {
        match (&self.target, self.blobs.as_slice()) {
            (Some(target), _) => target,
            // Earlier versions wrote an index before the manifest that was chosen from it.
            (None, [index, manifest, ..]) if *manifest == self.manifest => index,
            (None, _) => &self.manifest,
        }
    }

    fn key(&self) -> String {
        self.name.as_ref().map_or_else(|| nameless(self.id()), Reference::full)
    }
}

/// The key of an image without a name; no reference begins like that.
fn nameless(id: &Digest) -> String {
    format!("@{id}")
}

#[derive(Debug)]
pub(super) struct ImageStore {
    records: Records,
    table: Table,
    content: Arc<dyn ContentStore>,
    /// Held by who reads records to write others.
    writing: tokio::sync::Mutex<()>,
}

impl ImageStore {
    pub(super) fn new(records: &Records, content: Arc<dyn ContentStore>) -> Self {
        Self {
            records: records.clone(),
            table: records.table("images"),
            content,
            writing: tokio::sync::Mutex::default(),
        }
    }

    pub(super) async fn get(&self, name: &Reference) -> Result<Option<Image>, PullError> {
        match self.table.get::<ImageRecord>(&name.full()).await? {
            Some(record) => self.load(name.clone(), record).await.map(Some),
            None => Ok(None),
        }
    }

    /// The images that have a name and can be run, or could be elsewhere.
    pub(super) async fn list(&self) -> Result<Vec<Image>, PullError> {
        let mut images = Vec::new();
        for record in self.records().await? {
            if let Some(name) = record.name.clone().filter(|_| !record.layers.is_empty()) {
                images.push(self.load(name, record).await?);
            }
        }
        Ok(images)
    }

    pub(super) async fn record(&self, name: &Reference) -> Result<Option<ImageRecord>, PullError> {
        Ok(self.table.get::<ImageRecord>(&name.full()).await?)
    }

    pub(super) async fn records(&self) -> Result<Vec<ImageRecord>, PullError> {
        let rows = self.table.scan::<ImageRecord>().await?;
        Ok(rows.into_iter().map(|(_, record)| record).collect())
    }

    /// Keeps others from changing records while the guard lives.
    pub(super) async fn exclusively(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.writing.lock().await
    }

    /// Makes an image visible. Its blobs and layers are on the disk by now. The image that had the name is kept without
    /// one if nothing else names it, unless it is `replaced`.
    pub(super) async fn put(&self, record: ImageRecord) -> Result<ImageRecord, PullError> {
        let _writing = self.exclusively().await;
        self.put_locked(record, true).await
    }

    /// As [`ImageStore::put`], for who holds the guard.
    pub(super) async fn put_locked(
        &self,
        mut record: ImageRecord,
        keep_former: bool,
    ) -> Result<ImageRecord, PullError> {
        record.target = Some(record.id().clone());
        record.named_at_ms = crate::container::create::now_ms();
        let known = self.records().await?;
        let mut batch = Batch::default();
        let former = known.iter().find(|former| record.name.is_some() && former.name == record.name);
        if let Some(former) = former.filter(|former| keep_former && former.id() != record.id()) {
            let is_named = known.iter().any(|other| other.id() == former.id() && other.name != former.name);
            if !is_named {
                batch.put(
                    &self.table,
                    &nameless(former.id()),
                    &ImageRecord { name: None, ..former.clone() },
                )?;
            }
        }
        if record.name.is_some() {
            batch.delete(&self.table, &nameless(record.id()));
        } else if known.iter().any(|other| other.id() == record.id() && other.name.is_some()) {
            // It has a name already.
            return Ok(record);
        }
        // All names of one image say the same of it.
        for other in known
            .into_iter()
            .filter(|other| other.id() == record.id() && other.name.is_some() && other.name != record.name)
        {
            let (name, origin, named_at_ms) = (other.name, other.origin, other.named_at_ms);
            let other = ImageRecord { name, origin, named_at_ms, ..record.clone() };
            batch.put(&self.table, &other.key(), &other)?;
        }
        batch.put(&self.table, &record.key(), &record)?;
        self.records.commit(batch, Durability::Synced).await?;
        Ok(record)
    }

    /// Forgets these. With the guard.
    pub(super) async fn remove_locked(&self, records: &[ImageRecord]) -> Result<(), PullError> {
        let mut batch = Batch::default();
        let keys: BTreeSet<String> = records.iter().map(ImageRecord::key).collect();
        keys.iter().for_each(|key| batch.delete(&self.table, key));
        Ok(self.records.commit(batch, Durability::Synced).await?)
    }

    pub(super) async fn load(&self, name: Reference, record: ImageRecord) -> Result<Image, PullError> {
        let content = Arc::clone(&self.content);
        let digest = record.config.clone();
        let bytes = tokio::task::spawn_blocking(move || content.read_all(&digest, MAX_CONFIG)).await??;
        let (config, _) = ImageConfig::parse(&bytes)
            .map_err(|reason| PullError::Unusable { image: name.to_string(), reason })?;
        Ok(Image {
            name,
            id: record.id().clone(),
            manifest_digest: record.manifest,
            config_digest: record.config,
            config,
            layers: record.layers,
            size: record.size,
            created_at_ms: record.created_at_ms,
            unpacked: record.unpacked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_earlier_versions_stay_readable_and_say_which_index_was_pulled() {
        let [index, manifest, config] = [b"index_", b"manife", b"config"].map(|bytes| Digest::of(bytes));
        let old = serde_json::json!({
            "name": "docker.io/library/a:1", "manifest": manifest, "config": config, "layers": [],
            "blobs": [index, manifest, config], "size": 3, "created_at_ms": 4,
        });
        let record: ImageRecord = serde_json::from_value(old.clone()).unwrap();
        assert_eq!((record.id(), record.unpacked), (&index, true));
        assert_eq!(record.key(), "docker.io/library/a:1");
        let mut committed = old;
        committed["blobs"] = serde_json::json!([config, manifest]);
        committed["blobs"].as_array_mut().unwrap().insert(0, serde_json::json!(Digest::of(b"layer")));
        let record: ImageRecord = serde_json::from_value(committed).unwrap();
        assert_eq!(record.id(), &manifest);
    }
}
