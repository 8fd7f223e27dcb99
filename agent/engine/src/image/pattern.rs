//! Patterns of image names, as shells and Go's `path.Match` have them.

/// Whether the whole of `text` matches: `*` is any run without `/`, `?` any one
/// character but `/`, `[a-z]` and `[^a-z]` one of a class, `\` takes the next as it is.
/// A pattern that is none matches nothing.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut position) = (0, 0);
    // Where to go on after the last star, one character further than before.
    let mut retry = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            retry = Some((at, position));
            continue;
        }
        let next = match (pattern.get(at), text.get(position)) {
            (None, None) => return true,
            (Some(_), Some(character)) => one(&pattern[at..], *character),
            _ => None,
        };
        if let Some(length) = next {
            (at, position) = (at + length, position + 1);
            continue;
        }
        match retry {
            Some((star, taken)) if text.get(taken).is_some_and(|character| *character != '/') => {
                (at, position) = (star, taken + 1);
                retry = Some((star, taken + 1));
            }
            _ => return false,
        }
    }
}

/// The length of the pattern's first element if `character` matches it.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match pattern {
        ['?', ..] => (character != '/').then_some(1),
        ['\\', literal, ..] => (*literal == character).then_some(2),
        ['[', class @ ..] => {
            let end = 1 + class.iter().skip(1).position(|found| *found == ']')?;
            let (negated, class) = match &class[..end] {
                ['^', class @ ..] => (true, class),
                class => (false, class),
            };
            (holds(class, character) != negated).then_some(end + 2)
        }
        [literal, ..] => (*literal == character).then_some(1),
        [] => None,
    }
}

fn holds(class: &[char], character: char) -> bool {
    match class {
        [low, '-', high, rest @ ..] => (*low..=*high).contains(&character) || holds(rest, character),
        [only, rest @ ..] => *only == character || holds(rest, character),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text) in [
            ("alpine", "alpine"),
            ("al*", "alpine"),
            ("*/hello", "roadstead/hello"),
            ("*:lat*t", "alpine:latest"),
            ("a?p*e", "alpine"),
            ("alpine:[0-9]", "alpine:3"),
            ("alpine:[^a-z]", "alpine:3"),
            (r"a\*", "a*"),
            ("*", ""),
            ("a*b*c", "aXbYbZc"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("alp", "alpine"),
            ("*", "roadstead/hello"),
            ("r?h", "r/h"),
            ("alpine:[0-9", "alpine:3"),
            ("alpine:[^0-9]", "alpine:3"),
            ("", "a"),
            ("[", "["),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
