//! What a file imports: `use` trees written out, so that `use std::{fs, io}` is seen to be `std::fs`.

/// Every path that a file imports, with the line its `use` begins at, counted from 1.
pub(crate) fn paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default().trim();
        match &mut open {
            Some((_, tree)) => tree.push_str(code),
            None => open = begins(code).map(|tree| (index + 1, tree.to_owned())),
        }
        if code.ends_with(';')
            && let Some((line, tree)) = open.take()
        {
            found.extend(expand(tree.trim_end_matches(';')).into_iter().map(|path| (line, path)));
        }
    }
    found
}

/// What follows `use`, `pub use` or `pub(crate) use`.
fn begins(code: &str) -> Option<&str> {
    let public = || code.starts_with("pub").then(|| code.split_once(" use "))?.map(|(_, tree)| tree);
    code.strip_prefix("use ").or_else(public)
}

fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let whole = |path: String| match path.as_str() {
        "self" => prefix.trim().trim_end_matches("::").to_owned(),
        _ => format!("{}{path}", prefix.trim()),
    };
    branches(inside).into_iter().flat_map(expand).map(whole).collect()
}

/// The parts between the commas that stand in no braces.
fn branches(inside: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let at_top = |letter: char| {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    };
    inside.split(at_top).filter(|part| !part.trim().is_empty()).collect()
}

#[test]
fn trees_are_written_out() {
    let text = "use std::{\n    collections::BTreeMap, // a map\n    fs::{self, File as F},\n    io,\n};\n\
                pub(crate) use raft as r;\nlet a = use_it;\n";
    let found = paths(text);
    let names: Vec<(usize, &str)> = found.iter().map(|(line, path)| (*line, path.as_str())).collect();
    assert_eq!(
        names,
        [
            (1, "std::collections::BTreeMap"),
            (1, "std::fs"),
            (1, "std::fs::File"),
            (1, "std::io"),
            (6, "raft")
        ]
    );
}
