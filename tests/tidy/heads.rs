//! What a file opens with and is called, and that unsafe code is argued for.

use crate::tree::{File, Violation};

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 8] = ["common", "helper", "helpers", "misc", "mod", "types", "util", "utils"];

/// Refuses a file without `//!`, one with an empty name, and a crate root that
/// may hold unsafe code although it should not.
pub(crate) fn judge(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    let opening = file.text.lines().find(|line| !line.is_empty()).unwrap_or_default();
    if !opening.starts_with("//!") || opening.len() < 12 {
        found.push(file.violation(1, "does not open with //! and what it is"));
    }
    let mut parts = file.path.trim_end_matches(".rs").split('/').rev();
    if let Some(part) = parts.find(|part| EMPTY_NAMES.contains(part)) {
        found.push(file.violation(1, format!("the name {part} says nothing")));
    }
    let is_root = file.path.ends_with("src/lib.rs") || file.path.ends_with("agent/hello/src/main.rs");
    let forbids = file.text.contains("#![forbid(unsafe_code)]");
    if is_root && !forbids && !file.path.starts_with("agent/runtime/") {
        found.push(file.violation(1, "the crate root does not forbid unsafe code"));
    }
    found
}

/// Refuses an unsafe block, function or impl that no SAFETY comment precedes.
pub(crate) fn safety(file: &File) -> Vec<Violation> {
    if file.path.starts_with("tests/tidy/") {
        return Vec::new();
    }
    let lines: Vec<&str> = file.text.lines().collect();
    let unargued = |index: &usize| {
        let code = lines[*index].split("//").next().unwrap_or_default();
        let begins = code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn");
        let above = lines[index.saturating_sub(8)..*index].iter().rev();
        let argument = above
            .take_while(|line| !line.trim().is_empty())
            .any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
        begins && !argument
    };
    (0..lines.len()).filter(unargued).map(|index| file.violation(index + 1, "no SAFETY comment")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File::example(path, text)
    }

    #[test]
    fn a_file_without_an_opening_is_found() {
        assert_eq!(judge(&file("ctl/src/a.rs", "use b;\n")).len(), 1);
        assert!(judge(&file("ctl/src/a.rs", "//! What a is and does.\n")).is_empty());
    }

    #[test]
    fn a_name_that_says_nothing_is_found() {
        assert_eq!(judge(&file("ctl/src/utils.rs", "//! What a is and does.\n")).len(), 1);
        assert_eq!(judge(&file("ctl/src/types/a.rs", "//! What a is and does.\n")).len(), 1);
    }

    #[test]
    fn a_crate_root_that_allows_unsafe_code_is_found() {
        assert_eq!(judge(&file("ctl/src/lib.rs", "//! What a is and does.\n")).len(), 1);
    }

    #[test]
    fn unsafe_code_without_an_argument_is_found() {
        assert_eq!(safety(&file("a.rs", "let a = unsafe { b() };\n")).len(), 1);
        assert!(
            safety(&file("a.rs", "// SAFETY: b has no preconditions\nlet a = unsafe { b() };\n")).is_empty()
        );
    }
}
