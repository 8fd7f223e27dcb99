//! Images by the engine's handle: the verbs that must know what containers use.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Engine, Inner, to_its_end};
use crate::EngineError;
use crate::container::ContainerState;
use crate::container::commit::{Instruction, change};
use crate::container::mount::Kind;
use crate::content::Digest;
use crate::image::{
    ImageFilter, InUse, Loaded, NewImage, Platform, PullError, PullProgress, Reclaimed, Reference, Removal,
    User,
};

/// How an image is made of a file system.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The name it gets, if any.
    pub image: Option<Reference>,
    /// What it is for; may be empty.
    pub message: String,
    /// Instructions of a Dockerfile that change its configuration, as of a commit.
    pub changes: Vec<String>,
    /// What it is made for.
    pub platform: Platform,
}

impl Engine {
    /// Takes a name of an image away, and the image with its last one; see [`Images::find`](crate::image::Images::find)
    /// for what can be said.
    ///
    /// # Errors
    /// When it is not here, or containers use it and it is not forced.
    pub async fn remove_image(&self, image: &str, force: bool) -> Result<Vec<Removal>, EngineError> {
        self.inner.check_open()?;
        let (inner, image) = (Arc::clone(&self.inner), image.to_owned());
        to_its_end(async move {
            let users = |all: &BTreeSet<Digest>, names: &[Reference]| inner.image_users(all, names);
            Ok(inner.images.remove(&image, force, &users, &|| inner.images_in_use()).await?)
        })
        .await
    }

    /// Removes images that no container uses: those without a name, with `all` the others too. Then everything that
    /// no image and no container refers to.
    ///
    /// # Errors
    /// When the filter names an image that is not here, or the host refuses; what was removed before is gone.
    pub async fn prune_images(
        &self,
        all: bool,
        filter: ImageFilter,
    ) -> Result<(Vec<Removal>, Reclaimed), EngineError> {
        self.inner.check_open()?;
        let inner = Arc::clone(&self.inner);
        to_its_end(async move {
            let users = |all: &BTreeSet<Digest>, names: &[Reference]| inner.image_users(all, names);
            Ok(inner.images.prune(all, &filter, &users, &|| inner.images_in_use()).await?)
        })
        .await
    }

    /// Loads images from an archive that arrives piece by piece, plain or compressed with gzip; `None` in it is an
    /// archive that broke off. With a platform only the variants for that are taken.
    ///
    /// # Errors
    /// When the archive makes no sense or a layer cannot be unpacked; nothing of it is kept then.
    pub async fn load_images(
        &self,
        archive: mpsc::Receiver<Option<Bytes>>,
        platform: Option<Platform>,
        progress: impl Fn(PullProgress) + Send + Sync + 'static,
    ) -> Result<Vec<Loaded>, EngineError> {
        self.inner.check_open()?;
        let inner = Arc::clone(&self.inner);
        to_its_end(async move {
            Ok(inner.images.load(archive, platform, progress, &|| inner.images_in_use()).await?)
        })
        .await
    }

    /// Makes an image of an archive of a file system, plain or compressed with gzip, that arrives piece by piece;
    /// answers its id.
    ///
    /// # Errors
    /// When an instruction makes no sense or the archive cannot be unpacked; no image is made then.
    pub async fn import_image(
        &self,
        archive: mpsc::Receiver<Option<Bytes>>,
        options: ImportOptions,
    ) -> Result<Digest, EngineError> {
        self.inner.check_open()?;
        let instructions: Vec<Instruction> = options
            .changes
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, String>>()
            .map_err(|rule| EngineError::invalid("change", rule))?;
        let new = NewImage {
            name: options.image,
            base: None,
            platform: options.platform,
            created: jiff::Timestamp::now(),
            author: String::new(),
            comment: options.message,
            created_by: String::new(),
        };
        let name = new.name.as_ref().map_or_else(|| "the archive".to_owned(), ToString::to_string);
        let write = move |sink: &mut dyn Write| {
            let refuse = |reason: String| PullError::Import { image: name.clone(), reason };
            let mut source = crate::image::plain_archive(archive).map_err(refuse)?;
            copy(&mut source, sink).map_err(|fault| refuse(fault.to_string()))
        };
        let inner = Arc::clone(&self.inner);
        let edit =
            move |config: &mut serde_json::Map<String, serde_json::Value>| change(config, &instructions);
        to_its_end(async move {
            let made = inner.images.commit(new, edit, write).await;
            if made.is_err() {
                inner.collect_quietly().await;
            }
            Ok(made?)
        })
        .await
    }

    /// Removes what neither an image nor a container refers to.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn collect_garbage(&self) -> Result<Reclaimed, EngineError> {
        let inner = Arc::clone(&self.inner);
        to_its_end(async move { Ok(inner.images.collect(|| inner.images_in_use()).await?) }).await
    }

    /// The names of the containers that use an image, given everything it leads to and its names.
    pub fn users_of_image(&self, all: &BTreeSet<Digest>, names: &[Reference]) -> Vec<User> {
        self.inner.image_users(all, names)
    }
}

impl Inner {
    /// What containers rely on at this moment, those that are being made or removed among them.
    pub(crate) fn images_in_use(&self) -> InUse {
        let mut in_use = InUse::default();
        for entry in self.entries().values() {
            let live = entry.live();
            in_use.layers.extend(live.record.layers.iter().cloned());
            in_use.manifests.extend(live.record.image_digest.parse::<Digest>().ok());
            for image in &live.record.mounted {
                in_use.layers.extend(image.layers.iter().cloned());
                in_use.manifests.insert(image.manifest.clone());
            }
        }
        in_use
    }

    pub(crate) fn image_users(&self, all: &BTreeSet<Digest>, names: &[Reference]) -> Vec<User> {
        let entries: Vec<_> = self.entries().values().cloned().collect();
        let mut users = Vec::new();
        for entry in entries {
            let live = entry.live();
            if live.is_leaving() {
                continue;
            }
            let of_it = live.record.image_digest.parse().is_ok_and(|digest: Digest| all.contains(&digest));
            let mounted = live.record.mounted.iter().any(|image| all.contains(&image.manifest));
            // A container of an earlier version looks for what it mounts when it starts.
            let will_mount = || {
                let mounts = live.record.config.mounts.iter().filter(|mount| mount.kind == Kind::Image);
                let mut sources = mounts.filter_map(|mount| mount.source.parse::<Reference>().ok());
                live.record.mounted.is_empty() && sources.any(|source| names.contains(&source))
            };
            if of_it || mounted || will_mount() {
                let name = live.record.name.clone();
                drop(live);
                let state = entry.state();
                let is_running = state.is_alive() || state == ContainerState::Restarting;
                users.push(User { name, is_running });
            }
        }
        users.sort_by(|one, other| one.name.cmp(&other.name));
        users
    }

    /// Collects; that it failed is only told, for what is left goes with the next collection.
    pub(crate) async fn collect_quietly(&self) {
        match self.images.collect(|| self.images_in_use()).await {
            Ok(reclaimed) if reclaimed == Reclaimed::default() => {}
            Ok(reclaimed) => tracing::info!(
                blobs = reclaimed.blobs,
                layers = reclaimed.layers,
                bytes = reclaimed.bytes(),
                "removed what no image needs"
            ),
            Err(error) => tracing::warn!(%error, "what no image needs is not removed yet"),
        }
    }
}

/// Hands on what can be read, without a copy between.
fn copy(source: &mut dyn BufRead, sink: &mut dyn Write) -> std::io::Result<()> {
    loop {
        let piece = source.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        let length = piece.len();
        sink.write_all(piece)?;
        source.consume(length);
    }
}
