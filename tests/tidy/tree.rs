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
    /// Whether it is compiled for tests only.
    pub(crate) test: bool,
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

    /// A file with this text, for the tests of the rules themselves.
    #[cfg(test)]
    pub(crate) fn example(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into(), test: false }
    }

    /// The number of the line where test code begins; `usize::MAX` if none does.
    pub(crate) fn tests_begin(&self) -> usize {
        if self.test {
            return 0;
        }
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        let begins = |pair: &[&str]| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        };
        lines.windows(2).position(begins).unwrap_or(usize::MAX)
    }

    /// The files that this one declares as modules for tests: `#[cfg(test)] mod name;`.
    fn test_modules(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let root = ["/lib", "/main"].iter().find_map(|name| stem.strip_suffix(name));
        let folder = root.unwrap_or(stem);
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        let declared = |pair: &[&str]| {
            let module = pair[1].rsplit(' ').next().and_then(|name| name.strip_suffix(';'))?;
            let is_module = pair[0] == "#[cfg(test)]" && pair[1].contains("mod ");
            is_module.then(|| format!("{folder}/{module}.rs"))
        };
        lines.windows(2).filter_map(declared).collect()
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
        let test = path.starts_with("tests/") || path.contains("/tests/");
        Some(File { path: path.to_owned(), text, test })
    };
    let mut files: Vec<File> = paths.into_iter().filter_map(file).collect();
    mark_test_modules(&mut files);
    files
}

/// A module of a module for tests is one too, so this goes on until nothing changes.
fn mark_test_modules(files: &mut [File]) {
    let mut tests: Vec<String> = files.iter().flat_map(File::test_modules).collect();
    while let Some(path) = tests.pop() {
        let below = format!("{}/", path.trim_end_matches(".rs"));
        for file in files.iter_mut().filter(|file| file.path == path || file.path.starts_with(&below)) {
            file.test = true;
        }
    }
}

#[test]
fn modules_for_tests_are_marked_with_what_is_below_them() {
    let mut files = [
        File::example("a/src/lib.rs", "#[cfg(test)]\nmod suite;\nmod b;\n"),
        File::example("a/src/suite.rs", ""),
        File::example("a/src/suite/deep.rs", ""),
        File::example("a/src/b.rs", ""),
    ];
    mark_test_modules(&mut files);
    assert_eq!(files.map(|file| file.test), [false, true, true, false]);
}

/// All Rust sources.
pub(crate) fn sources() -> Vec<File> {
    read(|path| path.ends_with(".rs"))
}

/// All crate manifests, the workspace's own left out.
pub(crate) fn manifests() -> Vec<File> {
    read(|path| path.ends_with("/Cargo.toml"))
}

/// The workspace's own manifest.
pub(crate) fn root_manifest() -> Vec<File> {
    read(|path| path == "Cargo.toml")
}

/// What people read.
pub(crate) fn documents() -> Vec<File> {
    read(|path| path.ends_with(".md"))
}

/// The path of every file.
pub(crate) fn paths() -> Vec<String> {
    texts().into_iter().map(|file| file.path).collect()
}

/// Everything that is text.
pub(crate) fn texts() -> Vec<File> {
    read(|path| path != "Cargo.lock")
}
