//! Text to instructions: comments, the `escape` directive, continued lines,
//! flags, and the exec form. Heredocs are refused by name until they are read.

use crate::instruction::{Arguments, Instruction, Keyword};

/// Why a Dockerfile can't be read; each says on which line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The first word is no instruction.
    #[error("line {line}: unknown instruction: {word}")]
    UnknownInstruction {
        /// Where it stands, from 1.
        line: usize,
        /// The word.
        word: String,
    },
    /// An instruction without what it needs.
    #[error("line {line}: {word} requires arguments")]
    NoArguments {
        /// Where it stands, from 1.
        line: usize,
        /// The instruction.
        word: String,
    },
    /// `<<EOF`, which this version does not read.
    #[error("line {line}: heredocs are not supported: join the commands with && instead")]
    Heredoc {
        /// Where it stands, from 1.
        line: usize,
    },
    /// The file has no instruction at all.
    #[error("the Dockerfile has no instructions")]
    Empty,
}

/// Reads a Dockerfile.
///
/// # Errors
/// With the line of the first thing that makes no sense.
pub fn parse(text: &str) -> Result<Vec<Instruction>, ParseError> {
    let escape = escape_of(text);
    let mut instructions = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if is_comment(line) || line.trim().is_empty() {
            continue;
        }
        let mut logical = line.trim_start().to_owned();
        while let Some(open) = logical.trim_end().strip_suffix(escape) {
            logical = open.to_owned();
            match lines.by_ref().find(|(_, next)| !is_comment(next) && !next.trim().is_empty()) {
                Some((_, next)) => logical.push_str(next),
                None => break,
            }
        }
        instructions.push(instruction(&logical, index + 1)?);
    }
    if instructions.is_empty() { Err(ParseError::Empty) } else { Ok(instructions) }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// `# escape=` is a directive only in the comments before everything else.
fn escape_of(text: &str) -> char {
    let directives = text.lines().take_while(|line| is_comment(line));
    let value = |line: &str| {
        let (name, value) = line.trim_start().trim_start_matches('#').split_once('=')?;
        name.trim().eq_ignore_ascii_case("escape").then(|| value.trim().chars().next()).flatten()
    };
    directives.filter_map(value).next().unwrap_or('\\')
}

fn instruction(line: &str, number: usize) -> Result<Instruction, ParseError> {
    let (word, mut rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let Some(keyword) = Keyword::read(word) else {
        return Err(ParseError::UnknownInstruction { line: number, word: word.to_owned() });
    };
    let mut flags = Vec::new();
    loop {
        rest = rest.trim();
        let Some(flag) = rest.strip_prefix("--") else { break };
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        flags.push((name.to_owned(), value.to_owned()));
        rest = after;
    }
    if rest.is_empty() {
        return Err(ParseError::NoArguments { line: number, word: word.to_ascii_uppercase() });
    }
    if matches!(keyword, Keyword::Run | Keyword::Copy | Keyword::Add) && rest.contains("<<") {
        return Err(ParseError::Heredoc { line: number });
    }
    Ok(Instruction { keyword, flags, arguments: arguments(rest), line: number })
}

/// What looks like a JSON list of strings and is one is the exec form.
fn arguments(text: &str) -> Arguments {
    let exec = if text.starts_with('[') { serde_json::from_str(text).ok() } else { None };
    exec.map_or_else(|| Arguments::Text(text.to_owned()), Arguments::Exec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Instruction {
        parse(text).expect("it parses").remove(0)
    }

    #[test]
    fn lines_are_joined_over_comments_and_blank_lines() {
        let read = one("RUN a && \\\n# why\n\n  b \\\n  c\n");
        assert_eq!(read.words(), ["a", "&&", "b", "c"]);
        assert_eq!(read.line, 1);
    }

    #[test]
    fn the_escape_directive_changes_the_continuation() {
        let read = parse("# escape=`\nFROM a\nRUN b `\n c\\\n").expect("it parses");
        assert_eq!(read[1].words(), ["b", "c\\"]);
    }

    #[test]
    fn flags_come_before_the_arguments() {
        let read = one("copy --from=build --link /a /b");
        assert_eq!(
            (read.keyword, read.flag("from"), read.flag("link")),
            (Keyword::Copy, Some("build"), Some(""))
        );
        assert_eq!(read.words(), ["/a", "/b"]);
    }

    #[test]
    fn the_exec_form_is_told_from_the_shell_form() {
        assert_eq!(one(r#"CMD ["a", "b c"]"#).arguments, Arguments::Exec(vec!["a".into(), "b c".into()]));
        assert_eq!(one("CMD [ -f x ]").arguments, Arguments::Text("[ -f x ]".into()));
    }

    #[test]
    fn errors_name_the_line() {
        let unknown = ParseError::UnknownInstruction { line: 2, word: "RUNN".into() };
        assert_eq!(parse("FROM a\nRUNN b\n"), Err(unknown));
        assert_eq!(parse("FROM\n"), Err(ParseError::NoArguments { line: 1, word: "FROM".into() }));
        assert_eq!(parse("RUN <<EOF\na\nEOF\n"), Err(ParseError::Heredoc { line: 1 }));
        assert_eq!(parse("# nothing\n"), Err(ParseError::Empty));
    }

    #[test]
    fn no_text_makes_it_panic() {
        let alphabet = ["FROM", "RUN", " ", "\n", "\\", "#", "--", "=", "[", "\"", "é", "<<"];
        let mut seed: u64 = 1;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(alphabet[usize::try_from(seed >> 33).unwrap_or(0) % alphabet.len()]);
            }
            let _ = parse(&text);
        }
    }
}
