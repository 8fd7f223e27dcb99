//! What the agent tells the process that unpacks a layer, and what that answers: JSON, one document each way.

use serde::{Deserialize, Serialize};

use super::{Limits, Unpacked};
use crate::content::Digest;
use crate::image::manifest::Compression;

/// Most bytes of an answer: messages are short, and paths of opaque directories are limited.
pub(super) const MAX_ANSWER: u64 = 16 << 20;

/// One layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) compression: Compression,
    /// Name of the algorithm of its diff id.
    pub(crate) algorithm: String,
    pub(crate) limits: Limits,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Done {
        /// Of the whole archive.
        diff_id: Digest,
        unpacked: Unpacked,
        /// Directories that hide what the layers below have in them: only the agent may mark them.
        opaque: Vec<Vec<u8>>,
    },
    /// It cannot be decompressed.
    Inflate(String),
    /// The archive is refused, or cannot be written.
    Unpack(String),
    /// The process could not lock itself up, or was told nonsense.
    Helper(String),
}

/// What a layer came to, once its directory is as overlayfs wants it.
#[derive(Debug)]
pub(crate) struct Done {
    /// The digest of the archive, decompressed.
    pub(crate) diff_id: Digest,
    /// What was in it.
    pub(crate) unpacked: Unpacked,
}

/// Why there is no layer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It cannot be decompressed.
    Inflate(String),
    /// The archive is refused, or cannot be written.
    Unpack(super::UnpackError),
    /// The process that unpacks failed as such.
    Helper(String),
}
