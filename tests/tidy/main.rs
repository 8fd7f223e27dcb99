//! The house rules, read from the tree itself: who may import whom, which words
//! belong in which folder, how large a file and a function may be, what every
//! file opens with. Each rule is a pure function over a file's path and text
//! and is shown to fail on a bad example; there is no list of exemptions.
//!
//! Deliberately absent: anything that rustc, clippy or rustfmt can tell.

mod boundaries;
mod heads;
mod imports;
mod manifests;
mod map;
mod mutants;
mod sizes;
mod tree;
mod words;

use tree::{File, Violation};

/// Runs one rule over the files it concerns and reports everything it found.
fn check(rule: &str, files: &[File], judge: impl Fn(&File) -> Vec<Violation>) {
    let found: Vec<String> = files.iter().flat_map(judge).map(|violation| violation.to_string()).collect();
    assert!(!files.is_empty(), "{rule}: the tree has no files to check");
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn every_crate_keeps_its_boundary() {
    check("a crate imports what it must not", &tree::manifests(), boundaries::judge);
}

#[test]
fn versions_stand_in_the_root_manifest_only() {
    check("a manifest states a version of its own", &tree::manifests(), manifests::judge);
}

#[test]
fn every_dependency_is_used() {
    let (manifests, sources) = (tree::manifests(), tree::sources());
    check("a dependency that nobody uses", &manifests, |file| manifests::unused(file, &manifests, &sources));
    check("a version that no crate takes", &tree::root_manifest(), |file| {
        manifests::untaken(file, &manifests)
    });
}

#[test]
fn what_the_documents_name_exists() {
    let paths = tree::paths();
    check("a document names what is not there", &tree::documents(), |file| map::judge(file, &paths));
}

#[test]
fn words_stay_in_their_folders() {
    check("a word stands where it must not", &tree::sources(), words::judge);
}

#[test]
fn files_and_functions_fit() {
    check("too large", &tree::sources(), sizes::judge);
}

#[test]
fn the_tree_as_a_whole_stays_small() {
    let mut lengths: Vec<usize> = tree::sources().iter().map(|file| file.text.lines().count()).collect();
    lengths.sort_unstable();
    let (median, ninth_decile) = (lengths[lengths.len() / 2], lengths[lengths.len() * 9 / 10]);
    assert!(median <= 160, "the median file has {median} lines; about 100 is meant");
    assert!(ninth_decile <= 350, "one file in ten has more than {ninth_decile} lines; 350 is a lot");
}

#[test]
fn every_file_says_what_it_is() {
    check("a file does not open as it should", &tree::sources(), heads::judge);
}

#[test]
fn unsafe_code_is_argued_for() {
    check("unsafe without an argument", &tree::sources(), heads::safety);
}

#[test]
fn every_attack_has_a_mutant_that_applies() {
    let files = tree::texts();
    let patches: Vec<File> = files.iter().filter(|file| file.path.ends_with(".patch")).cloned().collect();
    check("a mutant has gone stale", &patches, |patch| mutants::judge(patch, &files));
    let excused = mutants::excused(&files);
    check("an attack without a mutant", &files, |file| mutants::unnamed(file, &patches, &excused));
    let count = mutants::count(&patches);
    assert!(count >= 60, "the mutants name {count} attacks");
}

#[test]
fn the_project_speaks_of_itself_alone() {
    check("a mention of what lies outside the project", &tree::texts(), words::outside);
}
