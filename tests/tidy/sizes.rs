//! How large a file and a function may be: what does not fit a screen is not read.

use crate::tree::{File, Violation};

const FILE: usize = 500;
const FUNCTION: usize = 70;

/// Refuses files over 500 lines and functions over 70. Relies on rustfmt: a
/// function ends at the brace that stands under its first letter.
pub(crate) fn judge(file: &File) -> Vec<Violation> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    if lines.len() > FILE {
        found.push(file.violation(1, format!("{} lines; {FILE} are too many", lines.len())));
    }
    for (index, line) in lines.iter().enumerate() {
        if !begins_function(line) || line.trim_end().ends_with('}') || line.trim_end().ends_with(';') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[index..].iter().position(|line| *line == end).map_or(0, |length| length + 1);
        if length > FUNCTION {
            found.push(
                file.violation(index + 1, format!("a function of {length} lines; {FUNCTION} are too many")),
            );
        }
    }
    found
}

fn begins_function(line: &str) -> bool {
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        match word {
            "fn" => return words.peek().is_some(),
            "async" | "const" | "unsafe" | "extern" | "\"C\"" => {}
            word if word.starts_with("pub") => {}
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_and_functions_are_found() {
        let body = "    let a = 1;\n".repeat(FUNCTION);
        let file = File::example("a.rs", &format!("//! x\npub(crate) async fn f() {{\n{body}}}\n"));
        assert_eq!(judge(&file).len(), 1);
        let file = File::example("a.rs", &"// x\n".repeat(FILE + 1));
        assert_eq!(judge(&file).len(), 1);
    }

    #[test]
    fn a_function_ends_at_its_own_brace() {
        let text = "//! x\nfn f() {\n    if a {\n    }\n}\n".to_owned() + &"// y\n".repeat(FUNCTION);
        assert!(judge(&File::example("a.rs", &text)).is_empty());
    }
}
