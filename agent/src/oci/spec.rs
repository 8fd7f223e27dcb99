//! `spec`: a configuration to start from.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use agent_engine::oci::{OciError, example};

pub(super) fn spec(bundle: Option<&Path>) -> Result<ExitCode, OciError> {
    let path = bundle.unwrap_or(Path::new(".")).join("config.json");
    let failed = |source| OciError::Io { action: format!("write {}", path.display()), source };
    let text =
        serde_json::to_string_pretty(&example()).map_err(|error| OciError::Usage(error.to_string()))?;
    // One that is there already may be somebody's work.
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    writeln!(file, "{text}").map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}
