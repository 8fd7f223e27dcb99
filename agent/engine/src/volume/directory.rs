//! The directories of volumes on disk: `all/<name>/data`, and `trash/` for what is going. All of it blocks.
//!
//! Whatever is in a volume was written by containers, so its tree is only walked by descriptor.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use agent_runtime::detached;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{VolumeError, Volumes, copy, host, limit};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(super) fn open(volumes: &Volumes) -> Result<(), VolumeError> {
    for name in ["all", "trash"] {
        let dir = volumes.inner.root.join(name);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|error| host("create", &dir, error))?;
    }
    for name in names(&volumes.trash())? {
        delete(&volumes.trash().join(name))?;
    }
    Ok(())
}

/// Removes what is in no record.
pub(super) fn sweep(volumes: &Volumes, known: &BTreeSet<String>) -> Result<(), VolumeError> {
    for name in names(&volumes.inner.root.join("all"))? {
        if !known.contains(&name) {
            tracing::info!(volume = name, "swept a directory that belongs to no volume");
            if let Some(trash) = discard(volumes, &name, None)? {
                delete(&trash)?;
            }
        }
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<String>, VolumeError> {
    let entries = fs::read_dir(dir).map_err(|error| host("list", dir, error))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

pub(super) fn make(volumes: &Volumes, name: &str, size: Option<(u64, u32)>) -> Result<(), VolumeError> {
    let data = volumes.data(name);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&data);
    made.map_err(|error| host("create", &data, error))?;
    // As Docker's; nobody but root gets through the directories above it.
    fs::set_permissions(&data, Permissions::from_mode(0o755))
        .map_err(|error| host("create", &data, error))?;
    if let Some((bytes, project)) = size {
        let directory = open_data(volumes, name)?;
        limit::set(name, directory.as_fd(), project, bytes)?;
    }
    Ok(())
}

/// The volume's own directory.
pub(super) fn open_data(volumes: &Volumes, name: &str) -> Result<OwnedFd, VolumeError> {
    let data = volumes.data(name);
    rustix::fs::openat(CWD, &data, DIRECTORY, Mode::empty()).map_err(|error| host("open", &data, error))
}

pub(super) fn is_empty(volumes: &Volumes, name: &str) -> Result<bool, VolumeError> {
    let data = volumes.data(name);
    let mut entries = fs::read_dir(&data).map_err(|error| host("list", &data, error))?;
    Ok(entries.next().is_none())
}

/// Removes what is in a volume, not the volume.
pub(super) fn empty(volumes: &Volumes, name: &str) -> Result<(), VolumeError> {
    let data = volumes.data(name);
    for entry in fs::read_dir(&data).map_err(|error| host("list", &data, error))? {
        let entry = entry.map_err(|error| host("list", &data, error))?;
        delete(&entry.path())?;
    }
    Ok(())
}

/// Copies what these layers have at `target`; answers whether they have a directory there. Links on the way are
/// followed inside the image only.
pub(super) fn fill(
    volumes: &Volumes,
    name: &str,
    layers: &[PathBuf],
    target: &str,
) -> Result<bool, VolumeError> {
    let image =
        detached::layers(layers).map_err(|error| host("mount the image for", &volumes.data(name), error))?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = match rustix::fs::openat2(&image, target, flags, Mode::empty(), resolve) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(error) => return Err(host("open the image's", Path::new(target), error)),
    };
    let data = open_data(volumes, name)?;
    let failed = |error| host("copy the image's content into", &volumes.data(name), error);
    copy::tree(source.as_fd(), data.as_fd()).map_err(failed)?;
    Ok(true)
}

/// Takes a volume out of sight by one rename; answers what is left to delete.
pub(super) fn discard(
    volumes: &Volumes,
    name: &str,
    project: Option<u32>,
) -> Result<Option<PathBuf>, VolumeError> {
    let (of, trash) = (volumes.of(name), volumes.fresh_trash());
    if let (Some(project), Ok(data)) = (project, open_data(volumes, name)) {
        // Not worth a failed removal: the project's files go, and its number is set anew when it is used again.
        let _ = agent_runtime::quota::forget(data.as_fd(), project);
    }
    // What is mounted for the volume is not its own and must not be deleted with it.
    super::open::unmount(volumes, name)?;
    match fs::rename(&of, &trash) {
        Ok(()) => Ok(Some(trash)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(host("remove", &of, error)),
    }
}

/// Deletes a file or a tree; links in it are not followed.
pub(super) fn delete(path: &Path) -> Result<(), VolumeError> {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let deleted = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match deleted {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(host("delete", path, error)),
        _ => Ok(()),
    }
}
