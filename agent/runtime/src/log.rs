//! A container's log on disk: which files there are, and what is in them. The keeper writes them, the engine reads
//! them meanwhile; neither waits for the other, so whatever a file may look like in between is part of the format.
//!
//! Deliberately absent: files being opened, written or read.

pub mod compact;
pub mod json;

use crate::container::LogDriver;

/// The longest piece of a line in one record, in bytes: longer lines are several pieces.
pub const MAX_PIECE: usize = 16 * 1024;

/// How the files of a log are called, and what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Frames in `log/container.log`, then `log/container.log.1` and so on.
    Compact,
    /// Docker's lines of JSON in `ID-json.log`, then `ID-json.log.1` and so on, as Docker calls them.
    Json,
    /// The same lines in `log/current`, then `log/1` and so on: how logs were kept before there were drivers.
    Old,
}

impl Layout {
    /// The layout a driver writes; `None` for a driver that writes nothing.
    pub fn of(driver: LogDriver) -> Option<Layout> {
        match driver {
            LogDriver::Local => Some(Layout::Compact),
            LogDriver::JsonFile => Some(Layout::Json),
            LogDriver::None => None,
        }
    }

    /// A file's name, from the container's state directory. File 0 is the one that is written; the higher the
    /// number, the older the file.
    pub fn file(self, id: &str, number: u32) -> String {
        match (self, number) {
            (Layout::Compact, 0) => "log/container.log".to_owned(),
            (Layout::Compact, number) => format!("log/container.log.{number}"),
            (Layout::Json, 0) => format!("{id}-json.log"),
            (Layout::Json, number) => format!("{id}-json.log.{number}"),
            (Layout::Old, 0) => "log/current".to_owned(),
            (Layout::Old, number) => format!("log/{number}"),
        }
    }

    /// The same file after the agent has compressed it with gzip. Whoever renames one or puts it in the other's place
    /// holds the lock (`flock`) of the container's state directory.
    pub fn compressed(self, id: &str, number: u32) -> String {
        format!("{}.gz", self.file(id, number))
    }
}

/// One line, or a piece of a long one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Nanoseconds since 1970; rises from line to line of a container.
    pub time_ns: u64,
    /// Written to standard error.
    pub stderr: bool,
    /// Without the line feed.
    pub text: &'a [u8],
    /// Whether a line feed ended it; otherwise the line goes on in the next record of the same stream.
    pub is_whole: bool,
}
