//! The writable directories of one container: `containers/<id>/{upper,work}`.
//!
//! overlayfs shows the upper directory's own owner and mode as those of `/`, so it gets what the image's topmost layer
//! says of its root, shifted into the container's ids.

use std::fs::{self, DirBuilder, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;

use super::{DiffId, IdRange, Mounts, SnapshotError, Snapshots, store};

pub(super) fn prepare(
    snapshots: &Snapshots,
    id: &str,
    layers: &[DiffId],
    owner: IdRange,
) -> Result<Mounts, SnapshotError> {
    check(id)?;
    let mut lower = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        let path = snapshots.layer_path(layer);
        if !path.is_dir() {
            return Err(SnapshotError::MissingLayer { layer: layer.clone() });
        }
        lower.push(path);
    }
    let top = lower.first().ok_or(SnapshotError::NoLayers)?;
    let root = fs::metadata(top).map_err(|fault| store(top, &fault))?;
    let own = snapshots.dir("containers").join(id);
    let (upper, work) = (own.join("upper"), own.join("work"));
    for dir in [&own, &upper, &work] {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|fault| store(dir, &fault))?;
    }
    let shifted = |id: u32| owner.base + if id < owner.size { id } else { 0 };
    give(&work, owner.base, owner.base)?;
    give(&upper, shifted(root.uid()), shifted(root.gid()))?;
    fs::set_permissions(&upper, Permissions::from_mode(root.mode() & 0o7777))
        .map_err(|fault| store(&upper, &fault))?;
    Ok(Mounts { lower, upper, work })
}

/// Both belong to the project: overlayfs renames from one into the other, which does not cross projects.
pub(super) fn limit(own: &Path, project: u32, bytes: u64) -> Result<(), SnapshotError> {
    for dir in [own.to_owned(), own.join("upper"), own.join("work")] {
        let opened = fs::File::open(&dir).map_err(|fault| store(&dir, &fault))?;
        agent_runtime::quota::limit(opened.as_fd(), project, bytes).map_err(|fault| store(&dir, &fault))?;
    }
    Ok(())
}

pub(super) fn remove(snapshots: &Snapshots, id: &str) -> Result<(), SnapshotError> {
    check(id)?;
    snapshots.discard(&snapshots.dir("containers").join(id))
}

fn give(path: &Path, uid: u32, gid: u32) -> Result<(), SnapshotError> {
    chown(path, Some(uid), Some(gid)).map_err(|fault| store(path, &fault))
}

/// Ids become directory names; an id that were a path would reach elsewhere.
fn check(id: &str) -> Result<(), SnapshotError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !id.is_empty() && id.len() <= 128 && id.bytes().all(plain) {
        Ok(())
    } else {
        Err(SnapshotError::BadId { id: id.chars().take(80).collect() })
    }
}
