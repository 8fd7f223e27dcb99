//! A layer on its way in: a directory nobody sees until it is complete and on the disk.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::{DiffId, SnapshotError, Snapshots, store, sync_dir, sync_file_system};

/// A directory that becomes a layer, or goes away when it is dropped.
#[derive(Debug)]
pub struct IncomingLayer {
    snapshots: Snapshots,
    path: PathBuf,
    directory: File,
    committed: bool,
}

impl IncomingLayer {
    pub(super) fn create(snapshots: Snapshots) -> Result<Self, SnapshotError> {
        let path = snapshots.fresh("incoming");
        DirBuilder::new().mode(0o755).create(&path).map_err(|fault| store(&path, &fault))?;
        let directory = File::open(&path).map_err(|fault| store(&path, &fault))?;
        Ok(Self { snapshots, path, directory, committed: false })
    }

    /// The directory to fill.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Where it lies while it is filled.
    #[cfg(test)]
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Makes the directory the layer `layer`: one sync of the file system for all its files, then one rename. If the layer
    /// came into being meanwhile, that one stays. Blocking.
    ///
    /// # Errors
    /// When the disk refuses; the layer is not there then.
    pub fn commit(mut self, layer: &DiffId) -> Result<(), SnapshotError> {
        sync_file_system(self.directory(), &self.path)?;
        let target = self.snapshots.layer_path(layer);
        match renameat_with(CWD, &self.path, CWD, &target, RenameFlags::NOREPLACE) {
            Ok(()) => {
                self.committed = true;
                sync_dir(&self.snapshots.dir("layers"))
            }
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(()),
            Err(fault) => Err(store(&target, &io::Error::from(fault))),
        }
    }
}

impl Drop for IncomingLayer {
    fn drop(&mut self) {
        if !self.committed
            && let Err(fault) = self.snapshots.discard(&self.path)
        {
            tracing::warn!(error = %fault, "a half-made layer stays until the next start");
        }
    }
}
