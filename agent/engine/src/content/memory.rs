//! Content in memory, for tests: the smallest thing that passes the suite.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex};

use super::{Algorithm, ContentError, ContentStore, Digest, Expected, Hasher, Ingest};

type Blobs = Arc<Mutex<BTreeMap<Digest, Vec<u8>>>>;

#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryContent {
    blobs: Blobs,
}

#[derive(Debug)]
struct MemoryIngest {
    blobs: Blobs,
    expected: Expected,
    bytes: Vec<u8>,
}

impl ContentStore for MemoryContent {
    fn begin(&self, expected: Expected) -> Result<Box<dyn Ingest>, ContentError> {
        Ok(Box::new(MemoryIngest { blobs: Arc::clone(&self.blobs), expected, bytes: Vec::new() }))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>, ContentError> {
        Ok(self.blobs.lock().unwrap().get(digest).map(|bytes| bytes.len() as u64))
    }

    fn open_blob(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, ContentError> {
        let blobs = self.blobs.lock().unwrap();
        let bytes = blobs.get(digest).ok_or_else(|| ContentError::Missing { digest: digest.clone() })?;
        Ok(Box::new(Cursor::new(bytes.clone())))
    }

    fn delete(&self, digest: &Digest) -> Result<(), ContentError> {
        self.blobs.lock().unwrap().remove(digest);
        Ok(())
    }

    fn list(&self) -> Result<Vec<(Digest, u64)>, ContentError> {
        let blobs = self.blobs.lock().unwrap();
        Ok(blobs.iter().map(|(digest, bytes)| (digest.clone(), bytes.len() as u64)).collect())
    }
}

impl Ingest for MemoryIngest {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.bytes.extend_from_slice(bytes);
        match self.expected.size {
            Some(limit) if self.bytes.len() as u64 > limit => Err(ContentError::TooLarge { limit }),
            _ => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<Digest, ContentError> {
        let received = self.bytes.len() as u64;
        if let Some(announced) = self.expected.size.filter(|announced| received < *announced) {
            return Err(ContentError::Truncated { received, announced });
        }
        let algorithm = self.expected.digest.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&self.bytes);
        let actual = hasher.finish();
        if let Some(expected) = self.expected.digest.filter(|expected| *expected != actual) {
            return Err(ContentError::Mismatch { expected, actual });
        }
        self.blobs.lock().unwrap().insert(actual.clone(), self.bytes);
        Ok(actual)
    }
}

#[test]
fn the_memory_store_passes_the_suite() {
    super::suite::run(|| (Box::new(MemoryContent::default()), Box::new(())));
}
