//! Reading a container's log back: the last lines, those of some time, and those still to come, across the keeper's
//! rotated files. `reader` goes from file to file, `cursor` reads one, `files` finds them, `window` holds a piece of
//! one in memory, `packed` compresses old ones, `identity` knows them again, `wake` tells who follows that there is more.
//!
//! Readers know nothing of the writer but its files, so they never make it wait. One that follows and is left behind
//! by more than all files hold goes on with the oldest line there is.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::Stream;

use super::ContainerState;
use super::record::Entry;
use crate::EngineError;

mod cursor;
mod files;
mod identity;
pub(crate) mod packed;
mod reader;
mod wake;
mod window;

use reader::Reader;
use wake::Wake;

/// Which part of a log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// Go on with new lines until the container has exited.
    pub follow: bool,
    /// Only the last so many lines of what is there.
    pub tail: Option<usize>,
    /// Only lines written at or after, nanoseconds since 1970.
    pub since_ns: Option<u64>,
    /// Only lines written at or before, nanoseconds since 1970. Who follows is done then.
    pub until_ns: Option<u64>,
}

/// One line of a log, or one piece of a very long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Written to standard error.
    pub stderr: bool,
    /// The text, with its line feed if it had one; without it, the line goes on in the next entry of its stream.
    pub data: Vec<u8>,
}

struct Following {
    reader: Reader,
    ready: VecDeque<LogEntry>,
    entry: Arc<Entry>,
    options: LogOptions,
    wake: Option<Wake>,
}

/// The log of a container, whose state is in `dir`.
pub(crate) fn stream(
    dir: PathBuf,
    entry: Arc<Entry>,
    options: LogOptions,
) -> Result<impl Stream<Item = LogEntry> + Send + use<>, EngineError> {
    let layout = super::logging::layout(&entry.live().record.config);
    let layout = layout.ok_or_else(|| EngineError::NoLog(entry.live().record.short_id()))?;
    // Before the first look, so that nothing is missed.
    let file = dir.join(layout.file(&entry.id, 0));
    let wake = options.follow.then(|| Wake::new(file.parent().unwrap_or(&dir).to_owned()));
    let files = files::Files::new(dir, entry.id.clone(), layout);
    let reader = Reader::new(files, options.tail, options.since_ns.unwrap_or(0), options.follow);
    Ok(futures::stream::unfold(Following { reader, ready: VecDeque::new(), entry, options, wake }, next))
}

async fn next(mut following: Following) -> Option<(LogEntry, Following)> {
    let until_ns = following.options.until_ns.unwrap_or(u64::MAX);
    loop {
        while let Some(entry) = following.ready.pop_front() {
            if entry.time_ns > until_ns {
                return None;
            }
            if entry.time_ns >= following.options.since_ns.unwrap_or(0) {
                return Some((entry, following));
            }
        }
        // Asked before reading: what was written before the end is then read.
        let may_grow = following.options.follow && may_grow(&following.entry) && now_ns() <= until_ns;
        let mut reader = following.reader;
        let read = tokio::task::spawn_blocking(move || {
            let batch = reader.read();
            (reader, batch)
        });
        let (reader, batch) = read.await.ok()?;
        following.reader = reader;
        following.ready = batch.inspect_err(|error| tracing::warn!(%error, "a log cannot be read")).ok()?;
        if following.ready.is_empty() {
            if !may_grow {
                return None;
            }
            let mut state = following.entry.watch();
            let ended = state.wait_for(|state| *state == ContainerState::Exited);
            let Some(wake) = &mut following.wake else { return None };
            let left = Duration::from_nanos(until_ns.saturating_sub(now_ns()));
            // In any case it is read once more.
            tokio::select! { _ = ended => {}, () = wake.wait(left) => {} }
        }
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A created container may be started while somebody follows.
fn may_grow(entry: &Entry) -> bool {
    !entry.live().removed && entry.state() != ContainerState::Exited
}
