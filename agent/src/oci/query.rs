//! `state`, `list`, `ps` and `features`.

use std::fmt::Write;
use std::process::ExitCode;

use agent_engine::oci::{OciError, Runtime, View, features as can};
use serde::Serialize;

use super::cli::Format;
use super::say;

pub(super) fn state(runtime: &Runtime, id: &str) -> Result<ExitCode, OciError> {
    say_json(&runtime.state(id)?)
}

pub(super) fn list(runtime: &Runtime, format: Format, quiet: bool) -> Result<ExitCode, OciError> {
    let views = runtime.list()?;
    if quiet {
        return say(&views.iter().map(|view| format!("{}\n", view.id)).collect::<String>());
    }
    if format == Format::Json {
        return say_json(&views);
    }
    let width =
        |of: &dyn Fn(&View) -> usize, least: usize| views.iter().map(of).max().unwrap_or(0).max(least);
    let (ids, bundles) = (width(&|view| view.id.len(), 2), width(&|view| view.bundle.as_os_str().len(), 6));
    let mut table =
        format!("{:<ids$}  {:<8}  {:<8}  {:<bundles$}  CREATED\n", "ID", "PID", "STATUS", "BUNDLE");
    for view in &views {
        let (pid, status, bundle) = (view.pid, view.status.to_string(), view.bundle.display().to_string());
        // Writing to a string cannot fail.
        let _ =
            writeln!(table, "{:<ids$}  {pid:<8}  {status:<8}  {bundle:<bundles$}  {}", view.id, view.created);
    }
    say(&table)
}

pub(super) fn ps(runtime: &Runtime, id: &str, format: Format) -> Result<ExitCode, OciError> {
    let pids = runtime.processes(id)?;
    if format == Format::Json {
        return say_json(&pids);
    }
    let mut table = format!("{:<8}  COMMAND\n", "PID");
    for pid in pids {
        // One that has ended since is in no list.
        if let Ok(bytes) = std::fs::read(format!("/proc/{pid}/cmdline")) {
            let words = String::from_utf8_lossy(&bytes).replace('\0', " ");
            let _ = writeln!(table, "{pid:<8}  {}", words.trim_end());
        }
    }
    say(&table)
}

pub(super) fn features() -> Result<ExitCode, OciError> {
    say_json(&can())
}

fn say_json(value: &impl Serialize) -> Result<ExitCode, OciError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| OciError::Usage(error.to_string()))?;
    say(&format!("{text}\n"))
}
