//! raft's slog records, passed on to tracing under the target `raft`.
//!
//! raft is talkative at level info (every campaign, every vote); those become
//! debug here, so that the default log of a controller stays readable.

use slog::{Drain, Level, Logger, Never, OwnedKVList, Record};

/// A logger for the raft crate that writes to tracing.
pub(super) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}

/// The drain.
struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _context: &OwnedKVList) -> Result<(), Never> {
        let text = record.msg();
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", "{text}"),
            Level::Warning => tracing::warn!(target: "raft", "{text}"),
            Level::Info => tracing::debug!(target: "raft", "{text}"),
            Level::Debug | Level::Trace => tracing::trace!(target: "raft", "{text}"),
        }
        Ok(())
    }
}
