//! Instructions to stages: where each begins, what it is called, and which
//! other stages it needs. A stage that the target does not need is not built.

use std::collections::BTreeSet;

use crate::instruction::{Instruction, Keyword};

/// One stage of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its name, `FROM ... AS name`, in lower case.
    pub name: Option<String>,
    /// The image or the stage it begins with, as it was written.
    pub base: String,
    /// The stages it needs, by their numbers; always smaller than its own.
    pub needs: BTreeSet<usize>,
    /// What follows FROM.
    pub instructions: Vec<Instruction>,
}

/// Why instructions are no stages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// Something other than ARG comes before the first FROM.
    #[error("line {line}: the first instruction must be FROM (only ARG may precede it)")]
    BeforeFrom {
        /// Where it stands, from 1.
        line: usize,
    },
    /// A FROM that is not `FROM image [AS name]`.
    #[error("line {line}: expected FROM <image> [AS <name>]")]
    BadFrom {
        /// Where it stands, from 1.
        line: usize,
    },
    /// Two stages of one name.
    #[error("line {line}: the stage name {name} is taken")]
    NameTaken {
        /// Where it stands, from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// There is no FROM at all.
    #[error("the Dockerfile has no FROM")]
    NoFrom,
}

/// Groups instructions into stages.
///
/// # Errors
/// With the line of the instruction that does not fit.
pub fn stages(instructions: Vec<Instruction>) -> Result<Vec<Stage>, StageError> {
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in instructions {
        if instruction.keyword == Keyword::From {
            let stage = begin(&instruction, &stages)?;
            stages.push(stage);
            continue;
        }
        let source = instruction
            .flag("from")
            .and_then(|from| number_of(from, &stages, stages.len().saturating_sub(1)));
        match stages.last_mut() {
            Some(stage) => {
                stage.needs.extend(source);
                stage.instructions.push(instruction);
            }
            None if instruction.keyword == Keyword::Arg => {}
            None => return Err(StageError::BeforeFrom { line: instruction.line }),
        }
    }
    if stages.is_empty() { Err(StageError::NoFrom) } else { Ok(stages) }
}

fn begin(from: &Instruction, earlier: &[Stage]) -> Result<Stage, StageError> {
    let line = from.line;
    let (base, name) = match from.words()[..] {
        [base] => (base, None),
        [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => {
            (base, Some(name.to_ascii_lowercase()))
        }
        _ => return Err(StageError::BadFrom { line }),
    };
    if let Some(name) =
        name.clone().filter(|name| earlier.iter().any(|stage| stage.name.as_ref() == Some(name)))
    {
        return Err(StageError::NameTaken { line, name });
    }
    let needs = earlier.iter().position(|stage| stage.name.as_deref() == Some(&base.to_ascii_lowercase()));
    Ok(Stage { name, base: base.to_owned(), needs: needs.into_iter().collect(), instructions: Vec::new() })
}

/// The stage that `--from` means, by name or number; an image is none.
fn number_of(from: &str, stages: &[Stage], current: usize) -> Option<usize> {
    let named = stages.iter().position(|stage| stage.name.as_deref() == Some(&from.to_ascii_lowercase()));
    named.or_else(|| from.parse().ok()).filter(|number| *number < current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn read(text: &str) -> Result<Vec<Stage>, StageError> {
        stages(parse(text).expect("it parses"))
    }

    #[test]
    fn a_stage_needs_its_base_and_what_it_copies_from() {
        let stages = read(
            "ARG V=1\nFROM a AS Build\nRUN x\nFROM b\nFROM build\nCOPY --from=1 /x /y\nCOPY --from=c /x /y\n",
        )
        .expect("stages");
        assert_eq!(stages.len(), 3);
        assert_eq!(stages[0].name.as_deref(), Some("build"));
        assert_eq!(stages[2].needs, BTreeSet::from([0, 1]));
        assert_eq!(stages[1].needs, BTreeSet::new());
    }

    #[test]
    fn a_stage_never_needs_itself_or_a_later_one() {
        let stages = read("FROM a AS x\nCOPY --from=x /a /b\nCOPY --from=7 /a /b\n").expect("stages");
        assert!(stages[0].needs.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_line() {
        assert_eq!(read("RUN x\nFROM a\n"), Err(StageError::BeforeFrom { line: 1 }));
        assert_eq!(read("FROM a b\n"), Err(StageError::BadFrom { line: 1 }));
        assert_eq!(
            read("FROM a AS x\nFROM b AS X\n"),
            Err(StageError::NameTaken { line: 2, name: "x".into() })
        );
        assert_eq!(read("ARG a\n"), Err(StageError::NoFrom));
    }
}
