//! Documents name files and folders; a map of a house that was rebuilt leads astray.

use crate::tree::{File, Violation};

/// Folders at the root whose contents documents may name.
const ROOTS: [&str; 6] = ["agent/", "controller/", "ctl/", "docs/", "proto/", "tests/"];

/// Refuses a path between backquotes, written from the root, that is not in the tree.
/// `paths` is every file's. Patterns (`<name>`, `*`) and what follows `::` are not looked at.
pub(crate) fn judge(file: &File, paths: &[String]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let path = quoted.split("::").next().unwrap_or_default();
            let is_path =
                ROOTS.iter().any(|root| path.starts_with(root)) && !path.contains(['<', '*', ' ', '{']);
            let folder = format!("{}/", path.trim_end_matches('/'));
            let exists = |known: &String| known == path || known.starts_with(&folder);
            if is_path && !paths.iter().any(exists) {
                found.push(file.violation(index + 1, format!("{path} does not exist")));
            }
        }
    }
    found
}

#[test]
fn a_path_that_is_gone_is_found() {
    let paths = ["ctl/src/a.rs".to_owned()];
    let of = |text: &str| judge(&File::example("README.md", text), &paths).len();
    assert_eq!(of("see `ctl/src/b.rs` and `ctl/lib/`\n"), 2);
    assert_eq!(of("see `ctl/src/a.rs`, `ctl/src/`, `ctl/src/a.rs::f`, `ctl/<name>.rs`, ctl/none\n"), 0);
}
