//! Images as an archive: an OCI image layout that also holds what `docker load` reads (`manifest.json`,
//! `repositories`). Blobs go from the store to the reader piece by piece and are checked on the way.
//!
//! The documents come first, so that who reads the archive knows what follows. Times are zero and nothing says who
//! wrote it: the same images give the same archive. Of an index all of what is here is written, and the index itself
//! as it is, so digests stay what they were; with a platform only the variant for that.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::content::{Digest, Hasher};

use super::describe::not_for;
use super::graph::{self, Link};
use super::lease::Lease;
use super::platform::Platform;
use super::variant::{self, Run, Variant};
use super::{Images, Inner, PullError, Reference, find};

/// Bytes handed on at a time.
const PIECE: usize = 256 << 10;
/// Pieces that wait for the reader.
const WAITING: usize = 4;

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The annotation with a whole name, which containerd made and Docker reads.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";
/// The annotation of the specification; Docker puts the tag there, others a whole name.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One image that is written.
#[derive(Debug)]
struct Chosen {
    root: Link,
    names: Vec<Reference>,
    run: Option<Run>,
}

impl Images {
    /// Writes images, by name or id, as an archive that arrives piece by piece; an error ends it.
    ///
    /// # Errors
    /// When an image is not here, or not whole, or not for that platform.
    pub async fn save(
        &self,
        images: &[String],
        platform: Option<Platform>,
    ) -> Result<mpsc::Receiver<Result<Bytes, PullError>>, PullError> {
        let lease = self.inner.leases.begin();
        let mut found: BTreeMap<Digest, find::Found> = BTreeMap::new();
        let mut names: BTreeMap<Digest, BTreeSet<Reference>> = BTreeMap::new();
        for text in images {
            let one = self.find(text).await?;
            lease.hold(&one.id);
            names.entry(one.id.clone()).or_default().extend(one.name.clone());
            found.entry(one.id.clone()).or_insert(one);
        }
        let inner = Arc::clone(&self.inner);
        let choosing = tokio::task::spawn_blocking(move || {
            let chosen: Result<Vec<Chosen>, PullError> = found
                .into_values()
                .map(|found| {
                    let names = names.remove(&found.id).unwrap_or_default().into_iter().collect();
                    choose(&inner, &found, names, platform.as_ref(), &lease)
                })
                .collect();
            chosen.map(|chosen| (chosen, lease))
        });
        let (chosen, lease) = choosing.await??;
        for one in &chosen {
            let name = one.names.first().map_or_else(|| one.root.digest.to_string(), ToString::to_string);
            self.tell("save", &one.root.digest.to_string(), &name);
        }
        let (pieces, archive) = mpsc::channel(WAITING);
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || {
            let sink = io::BufWriter::with_capacity(PIECE, Pieces(pieces.clone()));
            if let Err(error) = write(&inner, &chosen, sink) {
                // A reader that has gone does not want to know.
                let _ = pieces.blocking_send(Err(error));
            }
            drop(lease);
        });
        Ok(archive)
    }
}

/// What of an image is written; holds all of it.
fn choose(
    inner: &Inner,
    found: &find::Found,
    names: Vec<Reference>,
    platform: Option<&Platform>,
    lease: &Lease,
) -> Result<Chosen, PullError> {
    let shown = || names.first().map_or_else(|| found.id.to_string(), ToString::to_string);
    let mut all = BTreeSet::new();
    graph::reach(inner.content.as_ref(), &found.id, &mut all)?;
    lease.hold_all(&all);
    let variants = variant::all(inner.content.as_ref(), &found.id)?;
    let of = |variant: &Variant| (variant.link.clone(), variant.run.clone());
    let (root, run) = match platform {
        Some(platform) => {
            let variant = variant::choose(&variants, platform);
            of(variant.ok_or_else(|| not_for(&shown(), platform, &variants))?)
        }
        None => {
            let own = found.record().map(|record| &record.manifest);
            let variant =
                variants.iter().find(|variant| Some(&variant.link.digest) == own && variant.is_whole);
            let variant = variant.ok_or_else(|| PullError::Unusable {
                image: shown(),
                reason: "it is not whole on this host: pull it again".to_owned(),
            })?;
            let (mut root, run) = of(variant);
            if root.digest != found.id {
                root = Link { digest: found.id.clone(), platform: None, annotations: None, ..root };
                (root.media_type, root.artifact_type) = (String::new(), None);
            }
            (root, run)
        }
    };
    let root = with_type(inner, root)?;
    Ok(Chosen { root, names, run })
}

/// The descriptor with the size and the type that the document says itself.
fn with_type(inner: &Inner, mut root: Link) -> Result<Link, PullError> {
    root.size = inner.content.size(&root.digest)?.unwrap_or_default();
    let node = graph::read(inner.content.as_ref(), &root.digest)?.unwrap_or_default();
    let shape = if node.manifests.is_some() { INDEX } else { MANIFEST };
    if let Some(own) = node.media_type {
        root.media_type = own;
    } else if root.media_type.is_empty() {
        root.media_type = shape.to_owned();
    }
    Ok(root)
}

fn write(inner: &Inner, chosen: &[Chosen], sink: impl Write) -> Result<(), PullError> {
    let mut archive = tar::Builder::new(sink);
    let failed = |fault: io::Error| match fault.kind() {
        io::ErrorKind::BrokenPipe => PullError::ReaderGone,
        _ => PullError::Archive { reason: fault.to_string() },
    };
    let documents = [
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
        ("index.json", index(chosen)),
        ("manifest.json", docker_manifest(chosen)),
        ("repositories", repositories(chosen)),
    ];
    for (name, document) in documents {
        let bytes = document.to_string().into_bytes();
        archive.append_data(&mut file(bytes.len() as u64), name, bytes.as_slice()).map_err(failed)?;
    }
    let mut all = BTreeSet::new();
    for one in chosen {
        graph::reach(inner.content.as_ref(), &one.root.digest, &mut all)?;
    }
    let mut directories = BTreeSet::new();
    for digest in all {
        // Of other platforms' variants some may not be here.
        let Some(size) = inner.content.size(&digest)? else { continue };
        let directory = format!("blobs/{}", digest.algorithm().name());
        for path in ["blobs".to_owned(), directory.clone()] {
            if directories.insert(path.clone()) {
                archive.append_data(&mut folder(), format!("{path}/"), io::empty()).map_err(failed)?;
            }
        }
        let blob = Checked {
            blob: inner.content.open_blob(&digest)?,
            hasher: Some(Hasher::new(digest.algorithm())),
            digest: digest.clone(),
        };
        archive
            .append_data(&mut file(size), format!("{directory}/{}", digest.hex()), blob)
            .map_err(failed)?;
    }
    archive.into_inner().and_then(|mut sink| sink.flush()).map_err(failed)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header
}

fn file(size: u64) -> tar::Header {
    header(tar::EntryType::Regular, 0o444, size)
}

fn folder() -> tar::Header {
    header(tar::EntryType::Directory, 0o755, 0)
}

/// One descriptor for each name, as Docker writes it.
fn index(chosen: &[Chosen]) -> Value {
    let mut manifests = Vec::new();
    for one in chosen {
        let describe =
            |annotations: Option<BTreeMap<String, String>>| Link { annotations, ..one.root.clone() };
        if one.names.is_empty() {
            manifests.push(describe(None));
        }
        for name in &one.names {
            let mut annotations = BTreeMap::from([(IMAGE_NAME.to_owned(), name.full())]);
            if let Some(tag) = name.tag() {
                annotations.insert(REF_NAME.to_owned(), tag.to_owned());
            }
            manifests.push(describe(Some(annotations)));
        }
    }
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// Names with a tag, as people write them. One with a digest means nothing in Docker's form.
fn tags(one: &Chosen) -> Vec<&Reference> {
    one.names.iter().filter(|name| name.tag().is_some() && name.digest().is_none()).collect()
}

fn docker_manifest(chosen: &[Chosen]) -> Value {
    let entry = |one: &Chosen| {
        let run = one.run.as_ref()?;
        let names: Vec<String> = tags(one).iter().map(ToString::to_string).collect();
        Some(json!({
            "Config": path(&run.config_digest),
            "RepoTags": if names.is_empty() { Value::Null } else { json!(names) },
            "Layers": run.layers.iter().map(|layer| path(&layer.blob.digest)).collect::<Vec<_>>(),
        }))
    };
    Value::Array(chosen.iter().filter_map(entry).collect())
}

fn repositories(chosen: &[Chosen]) -> Value {
    let mut all: BTreeMap<String, BTreeMap<&str, &str>> = BTreeMap::new();
    for one in chosen {
        let Some(top) = one.run.as_ref().and_then(|run| run.layers.last()) else { continue };
        for name in tags(one) {
            let tags = all.entry(name.familiar_repository()).or_default();
            tags.insert(name.tag().unwrap_or_default(), top.diff_id.hex());
        }
    }
    json!(all)
}

/// A blob whose digest is compared at its end: what the disk has damaged is not handed on as good.
struct Checked {
    blob: Box<dyn Read + Send>,
    hasher: Option<Hasher>,
    digest: Digest,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.blob.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(buffer.get(..length).unwrap_or_default());
        }
        if length == 0
            && let Some(hasher) = self.hasher.take()
        {
            let actual = hasher.finish();
            if actual != self.digest {
                return Err(io::Error::other(format!(
                    "content {} has digest {actual} instead: the disk damaged it, pull the image again",
                    self.digest
                )));
            }
        }
        Ok(length)
    }
}

/// The writing end of a channel.
struct Pieces(mpsc::Sender<Result<Bytes, PullError>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
