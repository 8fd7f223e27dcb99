//! Content: bytes by digest. The lowest layer of the engine; manifests, image configurations and compressed layers
//! all lie here and nothing here knows which is which.
//!
//! # Vocabulary
//! - A **blob** is a finite run of bytes, named by its digest and never changed.
//! - An **ingest** is a blob that is still arriving. Its bytes are hashed while they are written.
//! - A blob is **visible** once its ingest was finished: `size`, `open`, `list` know it then and not a moment earlier.
//!
//! # Lifecycle
//! `begin` opens an ingest, stating what is known beforehand: the digest, the size, both or neither. `write` takes
//! bytes, and fails as soon as there are more than were announced. `finish` compares size and digest and makes the
//! blob visible in one step, durable before it is visible; if something differs, nothing becomes visible. An ingest that
//! is dropped without `finish` leaves nothing. Finishing a blob that is already there is fine and keeps the old
//! one: equal digests are equal bytes, so two ingests of the same blob need not know of each other.
//! Blobs disappear by `delete` only; a reader that has one open reads it to its end.
//!
//! # Example
//! Taking in a layer of a registry, then reading it:
//! ```no_run
//! # use agent_engine::content::{ContentStore, Digest, Expected, LocalContent};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = LocalContent::open("/var/lib/roadstead/agent/content")?;
//! let digest: Digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse()?;
//! if store.size(&digest)?.is_none() {
//!     let mut ingest = store.begin(Expected { digest: Some(digest.clone()), size: Some(0) })?;
//!     ingest.write(b"")?;
//!     ingest.finish()?;
//! }
//! let mut blob = store.open_blob(&digest)?;
//! # Ok(()) }
//! ```
//!
//! Everything blocks: callers are on blocking threads. Every implementation must pass the suite in
//! `content/suite.rs`. Deliberately absent: references and garbage collection, which belong to who knows what a
//! blob means (`image/collect.rs`).

use std::fmt::Debug;
use std::io::Read;
use std::path::PathBuf;

pub use self::digest::{Algorithm, Digest, DigestError, Hasher};
pub use self::local::LocalContent;

mod digest;
mod local;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod suite;

/// What is known of a blob before its bytes arrive.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The digest it must have. Without one, SHA-256 is computed.
    pub digest: Option<Digest>,
    /// Its exact size in bytes.
    pub size: Option<u64>,
}

/// A store of blobs; see the module for the contract.
pub trait ContentStore: Debug + Send + Sync {
    /// Opens an ingest.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn begin(&self, expected: Expected) -> Result<Box<dyn Ingest>, ContentError>;

    /// The size of a visible blob in bytes; `None` when it is not there.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn size(&self, digest: &Digest) -> Result<Option<u64>, ContentError>;

    /// Opens a blob for reading from its start.
    ///
    /// # Errors
    /// [`ContentError::Missing`] when it is not there.
    fn open_blob(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, ContentError>;

    /// Opens a blob for reading from byte `from` on; beyond its end there is nothing to read.
    ///
    /// # Errors
    /// As [`ContentStore::open_blob`].
    fn open_blob_at(&self, digest: &Digest, from: u64) -> Result<Box<dyn Read + Send>, ContentError> {
        let mut blob = self.open_blob(digest)?;
        std::io::copy(&mut blob.by_ref().take(from), &mut std::io::sink())
            .map_err(|fault| ContentError::Blob { digest: digest.clone(), reason: fault.to_string() })?;
        Ok(blob)
    }

    /// Removes a blob; removing what is not there is fine.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn delete(&self, digest: &Digest) -> Result<(), ContentError>;

    /// All visible blobs with their sizes, in the order of their digests.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(&self) -> Result<Vec<(Digest, u64)>, ContentError>;

    /// Reads a whole blob of at most `limit` bytes, and checks its digest again: small documents that decide what
    /// is run are worth it.
    ///
    /// # Errors
    /// [`ContentError::Missing`], [`ContentError::TooLarge`], or [`ContentError::Mismatch`] when the disk damaged it.
    fn read_all(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, ContentError> {
        let mut bytes = Vec::new();
        self.open_blob(digest)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|fault| ContentError::Blob { digest: digest.clone(), reason: fault.to_string() })?;
        if u64::try_from(bytes.len()).is_ok_and(|size| size > limit) {
            return Err(ContentError::TooLarge { limit });
        }
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual == *digest {
            Ok(bytes)
        } else {
            Err(ContentError::Mismatch { expected: digest.clone(), actual })
        }
    }

    /// Takes in a blob that is in memory.
    ///
    /// # Errors
    /// As [`Ingest::finish`].
    fn write_all(&self, bytes: &[u8], expected: Expected) -> Result<Digest, ContentError> {
        let mut ingest = self.begin(expected)?;
        ingest.write(bytes)?;
        ingest.finish()
    }
}

/// A blob that is arriving; see [`ContentStore`].
pub trait Ingest: Debug + Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`] beyond the announced size, or when the store cannot be written.
    fn write(&mut self, bytes: &[u8]) -> Result<(), ContentError>;

    /// Checks, and makes the blob visible.
    ///
    /// # Errors
    /// [`ContentError::Truncated`] or [`ContentError::Mismatch`] when the bytes are not the announced ones.
    fn finish(self: Box<Self>) -> Result<Digest, ContentError>;
}

/// A failure of the content store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ContentError {
    /// The store itself cannot be used.
    #[error("cannot use the content store in {}: {reason}", path.display())]
    Store {
        /// The path that failed.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// One blob cannot be read or written.
    #[error("cannot read content {digest}: {reason}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// What the system said.
        reason: String,
    },
    /// There is no such blob.
    #[error("content {digest} is not in the store")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// Fewer bytes arrived than were announced.
    #[error("content ended after {received} of {announced} bytes")]
    Truncated {
        /// Bytes that arrived.
        received: u64,
        /// Bytes that were announced.
        announced: u64,
    },
    /// More bytes arrived than were announced or allowed.
    #[error("content is longer than {limit} bytes")]
    TooLarge {
        /// The announced or allowed size.
        limit: u64,
    },
    /// The bytes are not the ones that were asked for.
    #[error("content {expected} has digest {actual} instead")]
    Mismatch {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest the bytes have.
        actual: Digest,
    },
}
