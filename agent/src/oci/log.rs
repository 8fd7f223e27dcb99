//! Complaints: a line on standard error, and one in the file the caller reads them from.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where complaints go.
#[derive(Debug)]
pub(super) struct Log<'a> {
    file: Option<&'a Path>,
    json: bool,
    debug: bool,
}

impl<'a> Log<'a> {
    pub(super) fn new(file: Option<&'a Path>, json: bool, debug: bool) -> Self {
        Self { file, json, debug }
    }

    /// What ends the command.
    pub(super) fn error(&self, text: &str) {
        // Standard error may be closed; the exit code says it too.
        let _ = writeln!(std::io::stderr(), "agent-oci: {text}");
        self.append("error", text);
    }

    /// What does not end it.
    pub(super) fn warning(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "agent-oci: warning: {text}");
        self.append("warning", text);
    }

    /// What was done.
    pub(super) fn debug(&self, text: &str) {
        if self.debug {
            self.append("debug", text);
        }
    }

    fn append(&self, level: &str, text: &str) {
        let Some(path) = self.file else { return };
        let time = rfc3339();
        let line = match self.json {
            true => serde_json::json!({ "level": level, "msg": text, "time": time }).to_string(),
            false => format!("time={time:?} level={level} msg={text:?}"),
        };
        // A log that cannot be written must not keep the command from what it is for.
        if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
            let _ = writeln!(file, "{line}");
        }
    }
}

/// Now, as callers parse it.
fn rfc3339() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    agent_engine::oci::rfc3339(seconds)
}
