//! Content in a directory, laid out as an OCI image layout does: `blobs/<algorithm>/<hex>`, arriving ones in `ingest/`.
//!
//! A blob is fsynced, then renamed into place, then its directory is fsynced: after a power cut a name stands for all
//! of its bytes or does not exist. What lies in `ingest/` at open is left over from a crash and is removed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Algorithm, ContentError, ContentStore, Digest, Expected, Hasher, Ingest};

/// The content store of an agent. Clones share the directory.
#[derive(Debug, Clone)]
pub struct LocalContent {
    root: PathBuf,
    /// Numbers the files in `ingest/`, which only this process uses.
    next: Arc<AtomicU64>,
}

#[derive(Debug)]
struct LocalIngest {
    root: PathBuf,
    path: PathBuf,
    file: File,
    expected: Expected,
    hasher: Hasher,
    received: u64,
    finished: bool,
}

impl LocalContent {
    /// Opens the store in `root`, creating it if needed, and removes what a crash left half-made.
    ///
    /// # Errors
    /// When the directories cannot be created or read.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, ContentError> {
        let root = root.as_ref().to_path_buf();
        let ingest = root.join("ingest");
        for dir in [blob_dir(&root, Algorithm::Sha256), blob_dir(&root, Algorithm::Sha512), ingest.clone()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|fault| store(&dir, &fault))?;
        }
        for entry in fs::read_dir(&ingest).map_err(|fault| store(&ingest, &fault))? {
            let path = entry.map_err(|fault| store(&ingest, &fault))?.path();
            fs::remove_file(&path).map_err(|fault| store(&path, &fault))?;
        }
        Ok(Self { root, next: Arc::default() })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        blob_dir(&self.root, digest.algorithm()).join(digest.hex())
    }
}

impl ContentStore for LocalContent {
    fn begin(&self, expected: Expected) -> Result<Box<dyn Ingest>, ContentError> {
        let path = self.root.join("ingest").join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|fault| store(&path, &fault))?;
        let algorithm = expected.digest.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let hasher = Hasher::new(algorithm);
        let root = self.root.clone();
        Ok(Box::new(LocalIngest { root, path, file, expected, hasher, received: 0, finished: false }))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, ContentError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(store(&path, &fault)),
        }
    }

    fn open_blob(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, ContentError> {
        match File::open(self.path(digest)) {
            Ok(file) => Ok(Box::new(BufReader::with_capacity(256 << 10, file))),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
                Err(ContentError::Missing { digest: digest.clone() })
            }
            Err(fault) => Err(ContentError::Blob { digest: digest.clone(), reason: fault.to_string() }),
        }
    }

    fn open_blob_at(&self, digest: &Digest, from: u64) -> Result<Box<dyn Read + Send>, ContentError> {
        let failed = |fault: io::Error| match fault.kind() {
            io::ErrorKind::NotFound => ContentError::Missing { digest: digest.clone() },
            _ => ContentError::Blob { digest: digest.clone(), reason: fault.to_string() },
        };
        let mut file = File::open(self.path(digest)).map_err(failed)?;
        file.seek(io::SeekFrom::Start(from)).map_err(failed)?;
        Ok(Box::new(BufReader::with_capacity(256 << 10, file)))
    }

    fn delete(&self, digest: &Digest) -> Result<(), ContentError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(store(&path, &fault)),
            _ => Ok(()),
        }
    }

    fn list(&self) -> Result<Vec<(Digest, u64)>, ContentError> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = blob_dir(&self.root, algorithm);
            for entry in fs::read_dir(&dir).map_err(|fault| store(&dir, &fault))? {
                let entry = entry.map_err(|fault| store(&dir, &fault))?;
                let name = format!("{}:{}", algorithm.name(), entry.file_name().to_string_lossy());
                // A foreign file in here is nobody's content.
                let Ok(digest) = name.parse::<Digest>() else { continue };
                match entry.metadata() {
                    Ok(metadata) => found.push((digest, metadata.len())),
                    // Deleted between the two calls.
                    Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
                    Err(fault) => return Err(store(&entry.path(), &fault)),
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Ingest for LocalIngest {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.received = self.received.saturating_add(bytes.len() as u64);
        if let Some(limit) = self.expected.size.filter(|limit| self.received > *limit) {
            return Err(ContentError::TooLarge { limit });
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|fault| store(&self.path, &fault))
    }

    fn finish(mut self: Box<Self>) -> Result<Digest, ContentError> {
        if let Some(announced) = self.expected.size.filter(|announced| self.received < *announced) {
            return Err(ContentError::Truncated { received: self.received, announced });
        }
        let actual = self.hasher.clone().finish();
        if let Some(expected) = self.expected.digest.as_ref().filter(|expected| **expected != actual) {
            return Err(ContentError::Mismatch { expected: expected.clone(), actual });
        }
        let dir = blob_dir(&self.root, actual.algorithm());
        let path = dir.join(actual.hex());
        if path.exists() {
            return Ok(actual);
        }
        self.file.sync_all().map_err(|fault| store(&self.path, &fault))?;
        fs::rename(&self.path, &path).map_err(|fault| store(&path, &fault))?;
        self.finished = true;
        File::open(&dir).and_then(|dir| dir.sync_all()).map_err(|fault| store(&dir, &fault))?;
        Ok(actual)
    }
}

impl Drop for LocalIngest {
    fn drop(&mut self) {
        if !self.finished
            && let Err(fault) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), error = %fault, "a half-made blob stays until the next start");
        }
    }
}

fn blob_dir(root: &Path, algorithm: Algorithm) -> PathBuf {
    root.join("blobs").join(algorithm.name())
}

fn store(path: &Path, fault: &io::Error) -> ContentError {
    ContentError::Store { path: path.to_path_buf(), reason: fault.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_store_passes_the_suite() {
        super::super::suite::run(|| {
            let dir = tempfile::tempdir().unwrap();
            let store = LocalContent::open(dir.path()).unwrap();
            (Box::new(store), Box::new(dir))
        });
    }

    #[test]
    fn opening_sweeps_what_a_crash_left_and_keeps_blobs() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalContent::open(dir.path()).unwrap();
        let digest = store.write_all(b"kept", Expected::default()).unwrap();
        fs::write(dir.path().join("ingest/7"), b"half").unwrap();
        let store = LocalContent::open(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("ingest")).unwrap().count(), 0);
        assert_eq!(store.read_all(&digest, 100).unwrap(), b"kept");
    }

    #[test]
    fn a_blob_the_disk_damaged_is_not_read_as_good() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalContent::open(dir.path()).unwrap();
        let digest = store.write_all(b"kept", Expected::default()).unwrap();
        fs::write(store.path(&digest), b"kepT").unwrap();
        assert!(matches!(store.read_all(&digest, 100), Err(ContentError::Mismatch { .. })));
    }
}
