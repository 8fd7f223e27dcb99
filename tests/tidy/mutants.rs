//! Attacks and mutants, read from the tree: every attack is named by a mutant that it must notice, every mutant names
//! attacks that exist, and every patch still applies, so that none of it goes stale in silence. That the attacks
//! do fail is shown by `make mutants`.

use crate::tree::{File, Violation};

/// Where the attacks are: whole files, whose tests must all be named.
const ATTACKS: [&str; 5] = [
    "agent/runtime/tests/containers/attacks/",
    "agent/runtime/tests/containers/hostile.rs",
    "agent/runtime/tests/containers/attest",
    "tests/engine/attacks/",
    "tests/engine/files/race.rs",
];

/// The test targets that patches name, and the folder of each.
const TARGETS: [(&str, &str); 2] =
    [("agent-runtime containers", "agent/runtime/tests/containers"), ("itest engine", "tests/engine")];

/// Tables of attacks within one test: what their declaration begins with.
const TABLES: [&str; 3] = ["const ATTACKS: ", "const CALLS: ", "const TRIES: "];

/// Attacks that no patch is written for, and why.
const UNNAMED: &str = "tests/engine/mutants/unnamed";

/// One attack that a patch says it lets through.
struct Kill {
    /// Full name of the test, with its target's folder in front.
    test: String,
    /// Row of its table, if it has one.
    row: Option<String>,
}

/// The attacks that a patch names. An empty list is no patch.
fn kills(patch: &File) -> Vec<Kill> {
    let mut folder = "";
    let mut found = Vec::new();
    for line in patch.text.lines().take_while(|line| !line.starts_with("--- ")) {
        if let Some(target) = line.strip_prefix("target: ") {
            folder = TARGETS.iter().find(|(name, _)| *name == target).map_or("?", |(_, folder)| folder);
        } else if let Some(kill) = line.strip_prefix("kills: ") {
            let (test, row) = kill.split_once(" / ").map_or((kill, None), |(test, row)| (test, Some(row)));
            found.push(Kill {
                test: format!("{folder}/{}", test.replace("::", "/")),
                row: row.map(str::to_owned),
            });
        }
    }
    found
}

/// Names of the tests of a file, as [`Kill::test`] has them, with their lines.
fn tests(file: &File) -> Vec<(usize, String)> {
    let stem = file.path.trim_end_matches(".rs");
    let lines: Vec<&str> = file.text.lines().collect();
    let named = |index: usize| {
        let name = lines[index].strip_prefix("fn ")?.split('(').next()?;
        let is_test = lines[..index].iter().rev().take(4).any(|line| *line == "#[test]");
        is_test.then(|| (index + 1, format!("{stem}/{name}")))
    };
    (0..lines.len()).filter_map(named).collect()
}

/// Names of the attacks in a file's tables: the first text of each entry.
fn rows(file: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let (mut inside, mut opened) = (false, false);
    for (index, line) in file.text.lines().enumerate() {
        inside = (inside || TABLES.iter().any(|table| line.starts_with(table))) && line != "];";
        if !inside {
            continue;
        }
        let entry = ["    (\"", "    attack(\""].iter().find_map(|begin| line.strip_prefix(begin));
        // A long entry has its name on the line after its opening.
        let entry = entry.or_else(|| line.strip_prefix("        \"").filter(|_| opened));
        opened = line == "    (" || line == "    attack(";
        if let Some(name) = entry.and_then(|rest| rest.split('"').next()) {
            found.push((index + 1, name.to_owned()));
        }
    }
    found
}

/// What one patch gets wrong.
pub(crate) fn judge(patch: &File, files: &[File]) -> Vec<Violation> {
    let mut found = Vec::new();
    let named = kills(patch);
    if !patch.text.starts_with("defence: ") || named.is_empty() {
        found
            .push(patch.violation(1, "a patch opens with its defence, and names a target and what it kills"));
    }
    for kill in named {
        let exists = |file: &File| tests(file).iter().any(|(_, test)| *test == kill.test);
        let known = files.iter().find(|file| exists(file));
        let row = kill.row.as_ref().filter(|row| *row != "*");
        let row_known = row.is_none_or(|row| {
            known.is_some_and(|file| {
                rows(file).iter().any(|(_, name)| name == row) || file.text.contains(&format!("\"{row}\""))
            })
        });
        if known.is_none() || !row_known {
            found.push(patch.violation(1, format!("no attack is called {} {:?}", kill.test, kill.row)));
        }
    }
    found.extend(stale(patch, files));
    found
}

/// Hunks that do not fit: what a hunk takes away and what surrounds it must stand in the file.
fn stale(patch: &File, files: &[File]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut target = None;
    let mut wanted = String::new();
    let mut begin = 0;
    let lines = patch.text.lines().chain(["@@"]).enumerate();
    for (index, line) in lines.skip_while(|(_, line)| !line.starts_with("--- ")) {
        if line.starts_with("@@") || line.starts_with("--- ") {
            let file: Option<&&File> = target.as_ref();
            if !wanted.is_empty() && !file.is_some_and(|file| file.text.contains(&wanted)) {
                found.push(patch.violation(begin, "does not apply any more"));
            }
            wanted.clear();
            begin = index + 1;
        }
        if let Some(path) = line.strip_prefix("--- a/") {
            target = files.iter().find(|file| file.path == path);
        } else if line.is_empty() {
            // A blank line, whose blank an editor has taken away.
            wanted.push('\n');
        } else if let Some(kept) = line.strip_prefix([' ', '-']) {
            wanted.push_str(kept);
            wanted.push('\n');
        }
    }
    found
}

/// Whether the test goes through a table of its file, by the table's name in it.
fn is_table(file: &File, test: &str) -> bool {
    let name = test.rsplit('/').next().unwrap_or_default();
    let body = file.text.split_once(&format!("fn {name}(")).map_or("", |(_, rest)| rest);
    let body = body.split_once("\n}\n").map_or(body, |(body, _)| body);
    TABLES
        .iter()
        .filter_map(|table| table.strip_prefix("const "))
        .any(|table| body.contains(table.trim_end_matches(": ")))
}

/// Attacks of one file that no patch names.
pub(crate) fn unnamed(file: &File, patches: &[File], excused: &str) -> Vec<Violation> {
    if !ATTACKS.iter().any(|place| file.path.starts_with(place)) {
        return Vec::new();
    }
    let kills: Vec<Kill> = patches.iter().flat_map(kills).collect();
    let is_excused = |name: &str| {
        excused.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(": ")))
    };
    let tests = tests(file);
    let whole = |test: &str| {
        kills.iter().any(|kill| kill.test == test && kill.row.as_deref().is_none_or(|row| row == "*"))
    };
    let of_file = |kill: &&Kill| tests.iter().any(|(_, test)| *test == kill.test);
    let mut found = Vec::new();
    for (line, test) in &tests {
        let named = kills.iter().any(|kill| kill.test == *test);
        if !named && !is_excused(test) {
            found.push(file.violation(*line, format!("no mutant shows that {test} can fail")));
        }
    }
    for (line, row) in rows(file) {
        let named = kills.iter().filter(of_file).any(|kill| kill.row.as_deref() == Some(row.as_str()));
        let as_a_whole =
            tests.iter().any(|(_, test)| whole(test) || (is_table(file, test) && is_excused(test)));
        if !named && !as_a_whole && !is_excused(&row) {
            found.push(file.violation(line, format!("no mutant shows that the attack {row:?} can fail")));
        }
    }
    found
}

/// How many different attacks the patches name.
pub(crate) fn count(patches: &[File]) -> usize {
    let all = patches.iter().flat_map(kills).map(|kill| (kill.test, kill.row));
    all.collect::<std::collections::BTreeSet<_>>().len()
}

/// The list of what is not named.
pub(crate) fn excused(files: &[File]) -> String {
    files.iter().find(|file| file.path == UNNAMED).map(|file| file.text.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "const CALLS: &[u8] = &[\n    (\"one\", 1),\n    (\n        \"two\",\n        \"x\",\n    ),\n];\n\n#[test]\nfn holds() {\n    let a = 1;\n}\n";

    fn files() -> Vec<File> {
        vec![
            File::example("agent/runtime/tests/containers/attacks/a.rs", SOURCE),
            File::example("b.rs", "one\ntwo\nthree\n"),
        ]
    }

    fn patch(kills: &str, taken: &str) -> File {
        let text = format!(
            "defence: it\ntarget: agent-runtime containers\n{kills}\n\n--- a/b.rs\n+++ b/b.rs\n@@ -1,2 +1,2 @@\n one\n-{taken}\n+four\n"
        );
        File::example("m.patch", &text)
    }

    #[test]
    fn a_patch_that_does_not_fit_or_names_nobody_is_found() {
        let good = patch("kills: attacks::a::holds / one", "two");
        assert_eq!(judge(&good, &files()), []);
        assert_eq!(judge(&patch("kills: attacks::a::holds", "zwei"), &files()).len(), 1);
        assert_eq!(judge(&patch("kills: attacks::a::gone", "two"), &files()).len(), 1);
        assert_eq!(judge(&patch("kills: attacks::a::holds / three", "two"), &files()).len(), 1);
        assert_eq!(judge(&patch("", "two"), &files()).len(), 1);
    }

    #[test]
    fn an_attack_that_no_patch_names_is_found() {
        let file = &files()[0];
        let one = [patch("kills: attacks::a::holds / one", "two")];
        assert_eq!(unnamed(file, &one, "").len(), 1);
        assert_eq!(unnamed(file, &one, "two: for a reason\n"), []);
        assert_eq!(unnamed(file, &[], "").len(), 3);
        assert_eq!(unnamed(file, &[patch("kills: attacks::a::holds", "two")], ""), []);
        assert_eq!(count(&one), 1);
    }
}
