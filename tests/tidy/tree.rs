//! The files of the repository, as git knows them: tracked, or new and not ignored.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file and what is in it.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Relative to the root of the repository, with `/`.
    pub(crate) path: String,
    /// Its whole text.
    pub(crate) text: String,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl File {
    /// A violation in line `line`, counted from 1.
    pub(crate) fn violation(&self, line: usize, what: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, what: what.into() }
    }

    /// The number of the line where the inline test module begins; the last line if none does.
    pub(crate) fn tests_begin(&self) -> usize {
        if self.is_test() {
            return 0;
        }
        self.text.lines().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(usize::MAX)
    }

    /// Whether the file is test code as a whole.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("suite")
            || self.path.contains("/examples/")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

fn read(keep: impl Fn(&str) -> bool) -> Vec<File> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("the house rules are read from a git checkout, so git must be installed");
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut paths: Vec<&str> = listing.lines().filter(|path| keep(path)).collect();
    paths.sort_unstable();
    paths.dedup();
    let file = |path: &str| {
        let text = std::fs::read_to_string(root().join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    paths.into_iter().filter_map(file).collect()
}

/// All Rust sources.
pub(crate) fn sources() -> Vec<File> {
    read(|path| path.ends_with(".rs"))
}

/// All crate manifests, the workspace's own left out.
pub(crate) fn manifests() -> Vec<File> {
    read(|path| path.ends_with("/Cargo.toml"))
}

/// Everything that is text.
pub(crate) fn texts() -> Vec<File> {
    read(|path| path != "Cargo.lock")
}
