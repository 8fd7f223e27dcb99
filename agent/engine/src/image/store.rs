//! The records of images: name to digests. The configuration itself stays in the content store, since it has no bound
//! that a record could take.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::content::{ContentStore, Digest};
use crate::records::{Durability, Records, Table};
use crate::snapshot::DiffId;

use super::config::MAX_CONFIG;
use super::{Image, ImageConfig, PullError, Reference};

/// What is written down of an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ImageRecord {
    pub(super) name: Reference,
    pub(super) manifest: Digest,
    pub(super) config: Digest,
    pub(super) layers: Vec<DiffId>,
    /// Every blob it refers to: index, manifest, configuration, layers as transferred.
    pub(super) blobs: Vec<Digest>,
    pub(super) size: u64,
    pub(super) created_at_ms: u64,
}

#[derive(Debug)]
pub(super) struct ImageStore {
    table: Table,
    content: Arc<dyn ContentStore>,
}

impl ImageStore {
    pub(super) fn new(records: &Records, content: Arc<dyn ContentStore>) -> Self {
        Self { table: records.table("images"), content }
    }

    pub(super) async fn get(&self, name: &Reference) -> Result<Option<Image>, PullError> {
        match self.table.get::<ImageRecord>(&name.full()).await? {
            Some(record) => self.load(record).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<Image>, PullError> {
        let mut images = Vec::new();
        for record in self.records().await? {
            images.push(self.load(record).await?);
        }
        Ok(images)
    }

    pub(super) async fn records(&self) -> Result<Vec<ImageRecord>, PullError> {
        let rows = self.table.scan::<ImageRecord>().await?;
        Ok(rows.into_iter().map(|(_, record)| record).collect())
    }

    /// Makes an image visible. Its blobs and layers are on the disk by now.
    pub(super) async fn put(&self, record: ImageRecord) -> Result<Image, PullError> {
        self.table.put(&record.name.full(), &record, Durability::Synced).await?;
        self.load(record).await
    }

    pub(super) async fn remove(&self, name: &Reference) -> Result<bool, PullError> {
        let known = self.table.get::<ImageRecord>(&name.full()).await?.is_some();
        if known {
            self.table.delete(&name.full(), Durability::Synced).await?;
        }
        Ok(known)
    }

    async fn load(&self, record: ImageRecord) -> Result<Image, PullError> {
        let content = Arc::clone(&self.content);
        let digest = record.config.clone();
        let bytes = tokio::task::spawn_blocking(move || content.read_all(&digest, MAX_CONFIG)).await??;
        let (config, _) = ImageConfig::parse(&bytes)
            .map_err(|reason| PullError::Unusable { image: record.name.to_string(), reason })?;
        Ok(Image {
            name: record.name,
            manifest_digest: record.manifest,
            config_digest: record.config,
            config,
            layers: record.layers,
            size: record.size,
            created_at_ms: record.created_at_ms,
        })
    }
}
