//! What this engine takes of the disk: images, containers, volumes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Engine, VolumeInUse};
use crate::content::Digest;
use crate::image::{Reference, Space};
use crate::{Container, EngineError};

/// What this engine takes of the disk.
#[derive(Debug, Clone)]
pub struct DiskUsage {
    /// Images.
    pub images: Space,
    /// Containers, and bytes that each has written.
    pub containers: Vec<(Container, u64)>,
    /// Volumes, and bytes of the files in each; of one that is not a directory of the engine, zero.
    pub volumes: Vec<(VolumeInUse, u64)>,
}

impl Engine {
    /// What this engine takes of the disk. Looks at every file, but for those of layers it has looked at before.
    ///
    /// # Errors
    /// When the images cannot be read.
    pub async fn disk_usage(&self) -> Result<DiskUsage, EngineError> {
        let inner = Arc::clone(&self.inner);
        let users = move |all: &BTreeSet<Digest>, names: &[Reference]| inner.image_users(all, names);
        let images = self.inner.images.space(users, self.inner.images_in_use()).await?;
        let mut containers = Vec::new();
        for container in self.list() {
            // It may be removed at this moment.
            let bytes = self.size(&container.id).await.unwrap_or_default();
            containers.push((container, bytes));
        }
        let mut volumes = Vec::new();
        for volume in self.volumes() {
            let path = volume.volume.mountpoint.clone();
            let bytes = tokio::task::spawn_blocking(move || crate::snapshot::bytes_below(&path)).await;
            volumes.push((volume, bytes.unwrap_or_default()));
        }
        Ok(DiskUsage { images, containers, volumes })
    }
}
