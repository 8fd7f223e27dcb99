//! Versions, features and lints are stated once, at the root.

use crate::tree::{File, Violation};

/// Refuses a dependency that is not taken from the workspace, and a crate without its lints.
pub(crate) fn judge(file: &File) -> Vec<Violation> {
    let table: toml::Table = match file.text.parse() {
        Ok(table) => table,
        Err(error) => return vec![file.violation(1, format!("not TOML: {error}"))],
    };
    let mut found = Vec::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(toml::Value::Table(entries)) = table.get(section) else { continue };
        for (name, value) in entries {
            let inherited = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
            if !inherited {
                found.push(file.violation(1, format!("{name} is not taken from the workspace")));
            }
        }
    }
    let lints = table.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    if lints != Some(true) {
        found.push(file.violation(1, "the crate does not take the workspace's lints"));
    }
    found
}

#[test]
fn a_version_of_its_own_is_found() {
    let text = "[lints]\nworkspace = true\n[dependencies]\nserde = \"1\"\ntokio = { workspace = true }\n";
    let file = File::example("x/Cargo.toml", text);
    assert_eq!(judge(&file).len(), 1);
}

#[test]
fn missing_lints_are_found() {
    let file = File::example("x/Cargo.toml", "[package]\nname = \"x\"\n");
    assert_eq!(judge(&file).len(), 1);
}
