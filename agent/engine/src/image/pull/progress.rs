//! What a pull tells whoever watches it.

use std::time::Duration;

use crate::content::Digest;

/// One step of a pull. Steps of different layers come in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullProgress {
    /// The registry is being asked what the reference means.
    Resolving,
    /// The registry is tried again in a while.
    Delayed {
        /// Why.
        reason: String,
        /// How long.
        wait: Duration,
    },
    /// Something happened to a layer.
    Layer {
        /// The layer's blob.
        digest: Digest,
        /// What happened.
        step: LayerStep,
    },
}

/// Where a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerStep {
    /// It waits for its turn, or for another pull that fetches it.
    Waiting,
    /// It is fetched, and unpacked while it is.
    Fetching {
        /// Bytes that came.
        done: u64,
        /// Bytes there are.
        total: u64,
    },
    /// All of it came; the rest is unpacked and brought to the disk.
    Unpacking,
    /// It is here.
    Done,
}
