//! The sync discipline that makes sled durable. Everything here is a real fsync.
//!
//! sled's `flush()` ends in `sync_file_range`, which neither empties the device's cache nor writes the metadata of
//! a file that grew. In power cuts nothing was lost once each flush was followed by `sync_all` of `<db>/db`, and the
//! directory entries were synced once after creation.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file sled writes, opened a second time for syncing: fsync covers the inode, whoever wrote it.
#[derive(Debug)]
pub(super) struct Syncer {
    file: File,
    /// How often [`Syncer::after_flush`] succeeded.
    done: Arc<AtomicU64>,
}

impl Syncer {
    /// Makes the existence of the database in `database` durable, and stands ready to sync its content.
    pub(super) fn new(database: &Path) -> io::Result<Self> {
        let file = File::open(database.join("db"))?;
        file.sync_all()?;
        File::open(database.join("conf"))?.sync_all()?;
        File::open(database.join("blobs"))?.sync_all()?;
        File::open(database)?.sync_all()?;
        if let Some(parent) = database.parent() {
            File::open(parent)?.sync_all()?;
            // The directory of the records may be new itself.
            if let Some(above) = parent.parent() {
                File::open(above)?.sync_all()?;
            }
        }
        Ok(Self { file, done: Arc::default() })
    }

    /// To be called after every `flush()`, before anything is acknowledged.
    pub(super) fn after_flush(&self) -> io::Result<()> {
        self.file.sync_all()?;
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The count of syncs, for whoever wants to watch it.
    pub(super) fn count(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.done)
    }
}
