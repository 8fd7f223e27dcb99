//! What a container changed, as a list and as an image.

use std::io::Write;
use std::sync::Arc;

use super::{Engine, Inner};
use crate::EngineError;
use crate::container::ContainerState;
use crate::container::commit::{Instruction, configure};
use crate::container::create::blocking;
use crate::container::record::Entry;
use crate::content::Digest;
use crate::files::changes::{self, Layers};
use crate::files::{Change, FilesError, layer};
use crate::image::{NewImage, Platform, PullError, Reference};

/// How an image is made of a container.
#[derive(Debug, Clone)]
pub struct CommitOptions {
    /// The name it gets.
    pub image: Reference,
    /// Who made it; may be empty.
    pub author: String,
    /// What for; may be empty.
    pub comment: String,
    /// Instructions of a Dockerfile that change its configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD,
    /// USER, VOLUME and WORKDIR.
    pub changes: Vec<String>,
    /// Hold the container still while it is copied.
    pub pause: bool,
}

impl Engine {
    /// What is not as in the image, in the order of the paths. What lies in volumes is not part of it.
    ///
    /// # Errors
    /// When there is no such container, or its files cannot be read.
    pub async fn changes(&self, container: &str) -> Result<Vec<Change>, EngineError> {
        let entry = self.inner.resolve(container)?;
        let (mounts, _) = self.inner.layers_of(&entry).await?;
        blocking(move || Ok(changes::list(&mounts.upper, &Layers::open(&mounts.lower)?)?)).await
    }

    /// Makes an image of a container's image and its changes; answers its id.
    ///
    /// # Errors
    /// When an instruction makes no sense, or the changes cannot be read or kept; then no image is made.
    pub async fn commit(&self, container: &str, options: CommitOptions) -> Result<Digest, EngineError> {
        self.inner.check_open()?;
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        let (id, comment, name) = (entry.id.clone(), options.comment.clone(), options.image.to_string());
        let image = super::to_its_end(async move { inner.commit(&entry, options).await }).await?;
        let made = [("comment", comment), ("imageID", image.to_string()), ("imageRef", name)];
        // It may have been removed meanwhile; the image is there all the same.
        let _ = self.used(&id, "commit", made.into());
        Ok(image)
    }
}

impl Inner {
    /// Where a container's layers are, and which ids are its own.
    async fn layers_of(
        &self,
        entry: &Entry,
    ) -> Result<(crate::snapshot::Mounts, crate::snapshot::IdRange), EngineError> {
        let record = entry.live().record.clone();
        if entry.live().removed {
            return Err(EngineError::NoSuchContainer(record.short_id()));
        }
        let ids = record.ids();
        Ok((self.snapshots.prepare(&record.id, &record.layers, ids).await?, ids))
    }

    async fn commit(&self, entry: &Arc<Entry>, options: CommitOptions) -> Result<Digest, EngineError> {
        let instructions: Vec<Instruction> = options
            .changes
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, String>>()
            .map_err(|rule| EngineError::invalid("change", rule))?;
        let (mounts, ids) = self.layers_of(entry).await?;
        let record = entry.live().record.clone();
        let base =
            record.image_digest.parse().map_err(|_| EngineError::NoSuchImage(record.config.image.clone()))?;
        let new = NewImage {
            name: Some(options.image.clone()),
            base: Some(base),
            platform: Platform::host(),
            created: jiff::Timestamp::now(),
            author: options.author.clone(),
            comment: options.comment.clone(),
            created_by: record.command.join(" "),
        };
        let edit = move |config: &mut serde_json::Map<String, serde_json::Value>| {
            configure(config, &record, &instructions);
        };
        let image = options.image.to_string();
        let write = move |sink: &mut dyn Write| {
            let refuse = |reason: String| PullError::Import { image: image.clone(), reason };
            let layers =
                Layers::open(&mounts.lower).map_err(|fault: FilesError| refuse(fault.to_string()))?;
            layer::write(&mounts.upper, &layers, ids, sink).map_err(|fault| refuse(fault.to_string()))?;
            Ok(())
        };
        let paused = options.pause && entry.state() == ContainerState::Running;
        if paused {
            self.pause(entry).await?;
        }
        let made = self.images.commit(new, edit, write).await;
        if paused && let Err(error) = self.unpause(entry).await {
            // It was unpaused or ended by somebody else meanwhile.
            tracing::debug!(container = entry.id, %error, "a container that was paused for a commit is not any more");
        }
        Ok(made?)
    }
}
