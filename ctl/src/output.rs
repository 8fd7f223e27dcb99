//! The terminal. Data goes to stdout, everything else to stderr; colour only
//! where a terminal is, and never as the only carrier of a meaning.

pub mod progress;
pub mod rows;
pub mod shape;
pub mod template;
pub mod time;
pub mod transfer;

use std::io::{IsTerminal, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::error::CommandError;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// JSON for programs
    Json,
}

/// Something that can be a line of a table.
pub trait Row: Serialize {
    /// The headings of the columns.
    fn headings() -> Vec<&'static str>;
    /// The cells, one per heading.
    fn cells(&self) -> Vec<String>;
}

/// Prints a list of objects.
pub fn list<R: Row>(format: Format, rows: &[R]) {
    match format {
        Format::Json => json(&rows),
        Format::Table => line(&table(rows)),
    }
}

/// A list of objects as columns, headings first, without a line feed at its end.
pub fn table<R: Row>(rows: &[R]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(R::headings());
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    for row in rows {
        table.add_row(row.cells());
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Prints a value as JSON.
pub fn json<T: Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(&text),
        Err(error) => note(&format!("cannot print as JSON: {error}")),
    }
}

/// Prints a line of data. A closed pipe is not an error of ours.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The exit code of a program whose reader has gone: that of SIGPIPE, in a shell.
pub const READER_GONE: u8 = 141;

/// Writes bytes of data as they are.
///
/// # Errors
/// When nobody reads them any more, so that what makes them need not go on.
pub fn bytes(data: &[u8], stderr: bool) -> std::io::Result<()> {
    let write = |out: &mut dyn Write| out.write_all(data).and_then(|()| out.flush());
    if stderr { write(&mut std::io::stderr()) } else { write(&mut std::io::stdout()) }
}

/// Tells the user something that is not data.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Reports a failed command: what failed, then what to do next.
pub fn fail(error: &CommandError) {
    let mut stderr = std::io::stderr();
    let label = if stderr.is_terminal() { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    let _ = writeln!(stderr, "{label} {error}");
    for hint in &error.hints {
        let _ = writeln!(stderr, "  {hint}");
    }
}
