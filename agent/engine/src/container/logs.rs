//! Reading a container's log back: the last lines, those since an instant, and
//! those still to come, across the keeper's rotated files.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;

use super::ContainerState;
use super::record::Entry;

mod reader;

use reader::Reader;

/// How long new lines may stay unseen by who follows.
const POLL: Duration = Duration::from_millis(50);

/// Which part of a log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// Go on with new lines until the container has exited.
    pub follow: bool,
    /// Only the last so many lines of what is there.
    pub tail: Option<usize>,
    /// Only lines written at or after, milliseconds since 1970.
    pub since_ms: Option<u64>,
}

/// One line of a log, or one piece of a very long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Written to standard error.
    pub stderr: bool,
    /// The text, with its line feed if it had one.
    pub data: Vec<u8>,
}

struct Following {
    reader: Reader,
    ready: VecDeque<LogEntry>,
    entry: Arc<Entry>,
    follow: bool,
    since_ns: u64,
}

/// The log in `dir` of a container.
pub(crate) fn stream(
    dir: PathBuf,
    entry: Arc<Entry>,
    options: LogOptions,
) -> impl Stream<Item = LogEntry> + Send + use<> {
    let since_ns = options.since_ms.unwrap_or(0).saturating_mul(1_000_000);
    let following = Following {
        reader: Reader::new(dir, options.tail),
        ready: VecDeque::new(),
        entry,
        follow: options.follow,
        since_ns,
    };
    futures::stream::unfold(following, next)
}

async fn next(mut following: Following) -> Option<(LogEntry, Following)> {
    loop {
        if let Some(entry) = following.ready.pop_front() {
            return Some((entry, following));
        }
        // Asked before reading: what was written before the end is then read.
        let may_grow = may_grow(&following.entry) && following.follow;
        let mut reader = following.reader;
        let read = tokio::task::spawn_blocking(move || {
            let batch = reader.read();
            (reader, batch)
        });
        let (reader, batch) = read.await.ok()?;
        following.reader = reader;
        let batch = batch.inspect_err(|error| tracing::warn!(%error, "a log cannot be read")).ok()?;
        let is_empty = batch.is_empty();
        following.ready.extend(batch.into_iter().filter(|entry| entry.time_ns >= following.since_ns));
        if is_empty {
            if !may_grow {
                return None;
            }
            let mut state = following.entry.watch();
            let ended = state.wait_for(|state| *state == ContainerState::Exited);
            // Either way it is read once more.
            let _ = tokio::time::timeout(POLL, ended).await;
        }
    }
}

/// A created container may be started while somebody follows.
fn may_grow(entry: &Entry) -> bool {
    !entry.live().removed && entry.state() != ContainerState::Exited
}
