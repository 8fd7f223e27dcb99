//! Volumes by the engine's handle: the verbs people have, and which containers use what.

use std::sync::Arc;

use super::{Engine, to_its_end};
use crate::EngineError;
use crate::container::identity;
use crate::events::Subject;
use crate::snapshot::size;
use crate::volume::{Volume, VolumeConfig, VolumeError};

/// A volume and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInUse {
    /// The volume.
    pub volume: Volume,
    /// Names of the containers it is mounted into, running or not.
    pub containers: Vec<String>,
}

impl Engine {
    /// Makes a volume; one of that name with the same options is answered as it is. Without a name it gets one.
    ///
    /// # Errors
    /// When the name or an option breaks a rule, the name is taken by a volume with other options, or the host
    /// refuses; then nothing was made.
    pub async fn create_volume(&self, mut config: VolumeConfig) -> Result<VolumeInUse, EngineError> {
        self.inner.check_open()?;
        if config.name.is_empty() {
            config.name =
                identity::new_id().map_err(|error| EngineError::file("read", "/dev/urandom", error))?;
        }
        let inner = Arc::clone(&self.inner);
        let volume = to_its_end(async move { Ok(inner.volumes.create(config).await?) }).await?;
        Ok(self.with_users(volume))
    }

    /// All volumes, by name.
    pub fn volumes(&self) -> Vec<VolumeInUse> {
        self.inner.volumes.list().into_iter().map(|volume| self.with_users(volume)).collect()
    }

    /// One volume.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn volume(&self, name: &str) -> Result<VolumeInUse, EngineError> {
        Ok(self.with_users(self.inner.volumes.get(name)?))
    }

    /// Removes a volume and what is in it.
    ///
    /// # Errors
    /// When there is none of that name, or containers have it.
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        self.inner.check_open()?;
        let (inner, name) = (Arc::clone(&self.inner), name.to_owned());
        to_its_end(async move { Ok(inner.volumes.remove(&name, || inner.users_of(&name, None)).await?) })
            .await
    }

    /// Removes the anonymous volumes that no container has, with `all` the others too; answers their names.
    ///
    /// # Errors
    /// When the host refuses; those before are gone.
    pub async fn prune_volumes(&self, all: bool) -> Result<Vec<String>, EngineError> {
        let (mut removed, mut bytes, mut refused) = (Vec::new(), 0_u64, None);
        for found in self.volumes() {
            let VolumeInUse { volume, containers } = found;
            if !(all || volume.anonymous) || !containers.is_empty() {
                continue;
            }
            let mountpoint = volume.mountpoint.clone();
            let size = tokio::task::spawn_blocking(move || size::of(&mountpoint)).await;
            match self.remove_volume(&volume.name).await {
                Ok(()) => {
                    removed.push(volume.name);
                    // What could not be looked at in full counts for nothing.
                    bytes = bytes.saturating_add(size.ok().and_then(Result::ok).unwrap_or_default());
                }
                Err(EngineError::Volume(VolumeError::InUse { .. } | VolumeError::NotFound(_))) => {}
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        self.inner.told.tell_pruned(Subject::Volume, bytes);
        refused.map_or(Ok(removed), Err)
    }

    /// As [`Engine::remove`], and takes the container's anonymous volumes along.
    ///
    /// # Errors
    /// As [`Engine::remove`].
    pub async fn remove_with_volumes(&self, container: &str, force: bool) -> Result<(), EngineError> {
        let entry = self.inner.resolve(container)?;
        let before = std::mem::replace(&mut entry.live().record.config.remove_volumes, true);
        let removed = self.remove(&entry.id, force).await;
        if removed.is_err() {
            entry.live().record.config.remove_volumes = before;
        }
        removed
    }

    fn with_users(&self, volume: Volume) -> VolumeInUse {
        let containers = self.inner.users_of(&volume.name, None);
        VolumeInUse { volume, containers }
    }
}
