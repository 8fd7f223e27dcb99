//! Versions, features and lints are stated once, at the root.

use std::collections::BTreeSet;

use crate::tree::{File, Violation};

const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Refuses a dependency that is not taken from the workspace, and a crate without its lints.
pub(crate) fn judge(file: &File) -> Vec<Violation> {
    let table: toml::Table = match file.text.parse() {
        Ok(table) => table,
        Err(error) => return vec![file.violation(1, format!("not TOML: {error}"))],
    };
    let mut found = Vec::new();
    for section in SECTIONS {
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

/// Refuses a dependency whose name stands nowhere in the crate's sources.
pub(crate) fn unused(file: &File, manifests: &[File], sources: &[File]) -> Vec<Violation> {
    let own = |source: &&File| owner(source, manifests).is_some_and(|owner| owner.path == file.path);
    let texts: Vec<&str> = sources.iter().filter(own).map(|source| source.text.as_str()).collect();
    let is_used = |name: &str| texts.iter().any(|text| mentions(text, &name.replace('-', "_")));
    let unused = dependencies(file, &SECTIONS).into_iter().filter(|name| !is_used(name));
    unused.map(|name| file.violation(1, format!("{name} is not used"))).collect()
}

/// The manifest of the crate that a source belongs to: the nearest one above it.
fn owner<'a>(source: &File, manifests: &'a [File]) -> Option<&'a File> {
    let above = |manifest: &&File| source.path.starts_with(manifest.path.trim_end_matches("Cargo.toml"));
    manifests.iter().filter(above).max_by_key(|manifest| manifest.path.len())
}

/// Refuses a dependency of the workspace that no crate takes.
pub(crate) fn untaken(file: &File, manifests: &[File]) -> Vec<Violation> {
    let table: toml::Table = file.text.parse().unwrap_or_default();
    let Some(toml::Value::Table(entries)) =
        table.get("workspace").and_then(|workspace| workspace.get("dependencies"))
    else {
        return Vec::new();
    };
    let taken: BTreeSet<String> =
        manifests.iter().flat_map(|manifest| dependencies(manifest, &SECTIONS)).collect();
    let untaken = entries.keys().filter(|name| !taken.contains(*name));
    untaken.map(|name| file.violation(1, format!("no crate takes {name}"))).collect()
}

/// The names in these sections of a manifest, those for one platform included.
pub(crate) fn dependencies(file: &File, names: &[&str]) -> Vec<String> {
    let table: toml::Table = file.text.parse().unwrap_or_default();
    let platforms = table.get("target").and_then(toml::Value::as_table);
    let tables =
        platforms.into_iter().flat_map(|platforms| platforms.values().filter_map(toml::Value::as_table));
    let sections = tables.chain([&table]).flat_map(|table| names.iter().filter_map(|name| table.get(*name)));
    sections.filter_map(toml::Value::as_table).flat_map(|entries| entries.keys().cloned()).collect()
}

/// Whether a name stands in the text by itself.
fn mentions(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + name.len()..].starts_with(part))
}

#[test]
fn a_dependency_that_nobody_uses_is_found() {
    let text = "[dependencies]\nx-y.workspace = true\n[target.u.dependencies]\nz.workspace = true\n";
    let manifest = File::example("a/Cargo.toml", text);
    let manifests = [manifest.clone(), File::example("a/b/Cargo.toml", "")];
    let used = [File::example("a/src/lib.rs", "use x_y::A;\n"), File::example("a/build.rs", "z::make();\n")];
    assert!(unused(&manifest, &manifests, &used).is_empty());
    let others =
        [File::example("a/src/lib.rs", "use x_yz::A;\n"), File::example("a/b/src/lib.rs", "use z::A;\n")];
    assert_eq!(unused(&manifest, &manifests, &others).len(), 2);
    let root = File::example("Cargo.toml", "[workspace.dependencies]\nx-y = \"1\"\nw = \"1\"\n");
    assert_eq!(untaken(&root, &[manifest]).len(), 1);
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
