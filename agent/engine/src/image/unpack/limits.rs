//! How large a layer may be. Beyond these an archive is taken for a bomb.

use serde::{Deserialize, Serialize};

/// Limits of one layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limits {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes in all regular files together.
    pub total_bytes: u64,
    /// Bytes in a path, and in the target of a link.
    pub path_bytes: usize,
    /// Components in a path.
    pub depth: usize,
    /// Bytes in one extension header (PAX records, GNU long names).
    pub extension_bytes: u64,
    /// Bytes of directory paths that are remembered until the end, when directory times are set.
    pub remembered_bytes: usize,
    /// How many times its compressed size a layer may inflate to, beyond the first [`Limits::ratio_free_bytes`].
    pub ratio: u64,
    /// Inflated bytes to which [`Limits::ratio`] does not apply yet.
    pub ratio_free_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            total_bytes: 64 << 30,
            path_bytes: 4096,
            depth: 256,
            extension_bytes: 1 << 20,
            remembered_bytes: 64 << 20,
            ratio: 1000,
            ratio_free_bytes: 256 << 20,
        }
    }
}
