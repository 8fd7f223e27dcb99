//! The state as bytes, and when to write it down.
//!
//! Every so many applied entries the state is written as a snapshot and the log
//! before it is forgotten. Taking the state costs a pointer; encoding and writing
//! it happen on a thread of their own, so commits go on meanwhile. One at a time.
//!
//! A snapshot that could not be written (a full disk) is no disaster: the log
//! still holds everything. It is said aloud and tried again.

use std::sync::Arc;
use std::thread;

use controller_core::State;
use tokio::sync::oneshot;

use super::log_store::{LogError, LogStore, Snapshot};

/// The version this controller writes, and the newest it reads.
const VERSION: u8 = 1;

/// When to take a snapshot and how much of the log to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// After this many entries.
    pub entries: u64,
    /// Or after entries of this many bytes.
    pub bytes: u64,
    /// Entries before the snapshot that stay in the log, for followers that are a little behind.
    pub keep: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self { entries: 10_000, bytes: 64 << 20, keep: 1_000 }
    }
}

/// Why a snapshot is not a state.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Written by a newer controller.
    #[error(
        "the snapshot at entry {index} is in format {found}, this controller understands {VERSION}; use the newer one"
    )]
    Version {
        /// Which snapshot.
        index: u64,
        /// Its version; zero when it is empty.
        found: u8,
    },
    /// Not the JSON of a state.
    #[error("the snapshot at entry {index} cannot be read: {error}")]
    Json {
        /// Which snapshot.
        index: u64,
        /// Why.
        error: serde_json::Error,
    },
}

/// The state in a snapshot.
pub(super) fn decode(snapshot: &Snapshot) -> Result<State, SnapshotError> {
    let index = snapshot.index;
    match snapshot.data.split_first() {
        Some((&VERSION, json)) => {
            serde_json::from_slice(json).map_err(|error| SnapshotError::Json { index, error })
        }
        other => Err(SnapshotError::Version { index, found: other.map_or(0, |(&version, _)| version) }),
    }
}

fn encode(state: &State) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, state)?;
    Ok(bytes)
}

/// Counts entries and writes snapshots.
#[derive(Debug)]
pub(super) struct Snapshots {
    policy: SnapshotPolicy,
    entries: u64,
    bytes: u64,
    writing: Option<oneshot::Receiver<Result<u64, String>>>,
}

impl Snapshots {
    /// `entries` were applied since the last one.
    pub(super) fn new(policy: SnapshotPolicy) -> Self {
        Self { policy, entries: 0, bytes: 0, writing: None }
    }

    /// One more entry of this size was applied.
    pub(super) fn count(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// Whether it is time for one.
    pub(super) fn due(&self) -> bool {
        self.writing.is_none() && (self.entries >= self.policy.entries || self.bytes >= self.policy.bytes)
    }

    /// Begins to write one. `empty` says what it stands for and has no data yet.
    pub(super) fn begin(&mut self, log: &Arc<dyn LogStore>, state: State, empty: Snapshot) {
        (self.entries, self.bytes) = (0, 0);
        let (done, receiver) = oneshot::channel();
        let log = Arc::clone(log);
        let write = move || {
            let outcome = write(log.as_ref(), &state, empty);
            // The log is closed when nobody holds it; who hears of the end may open it again at once.
            drop((log, state));
            // Nobody listens any more when the `raft` thread has died.
            let _ = done.send(outcome);
        };
        match thread::Builder::new().name("snapshot".to_owned()).spawn(write) {
            Ok(_) => self.writing = Some(receiver),
            Err(error) => tracing::warn!(%error, "no thread to write a snapshot; trying again later"),
        }
    }

    /// Waits for the one that is being written, if there is one.
    pub(super) async fn finish(&mut self) {
        if let Some(writing) = self.writing.take() {
            // What became of it matters no more: the log still holds everything.
            let _ = writing.await;
        }
    }

    /// Waits for the one that is being written; forever when none is. Returns up to which entry the log may be compacted.
    /// Safe to drop and call again.
    pub(super) async fn written(&mut self) -> u64 {
        loop {
            let Some(writing) = &mut self.writing else { return std::future::pending().await };
            let outcome = writing.await;
            self.writing = None;
            match outcome {
                Ok(Ok(index)) => return index.saturating_sub(self.policy.keep),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "no snapshot was written; the log stays until the next one");
                }
                Err(_) => {
                    tracing::warn!("the thread that wrote a snapshot died; the log stays until the next one");
                }
            }
        }
    }
}

fn write(log: &dyn LogStore, state: &State, empty: Snapshot) -> Result<u64, String> {
    let data = encode(state).map_err(|error| error.to_string())?;
    let index = empty.index;
    tracing::debug!(index, bytes = data.len(), "writing a snapshot");
    log.save_snapshot(&Snapshot { data, ..empty }).map_err(|error: LogError| error.to_string())?;
    Ok(index)
}
