//! Reads a template: text and actions, and what stands in an action. Nothing is looked up here.

use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::Value;

use super::function;

/// So deep may blocks and parentheses lie in each other.
const DEEPEST: usize = 64;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, other: Vec<Node> },
    With { value: Pipeline, then: Vec<Node>, other: Vec<Node> },
    Range { names: Vec<String>, over: Pipeline, body: Vec<Node>, other: Vec<Node> },
}

/// Commands, each of which gets what the one before it made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline(pub(super) Vec<Command>);

/// A function or a value, and arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command(pub(super) Vec<Operand>);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Function(String),
    Literal(Value),
    Path(Origin, Vec<String>),
    Group(Pipeline, Vec<String>),
}

/// Where a path begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Origin {
    Dot,
    Root,
    Variable(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// `.a.b`, `$.a`, `$x`, a function, a number, `true`, `:=`.
    Word(String),
    Text(String),
    Open,
    /// With the path behind it, `).a`.
    Close(Vec<String>),
    Pipe,
    Comma,
}

type Tokens = Peekable<IntoIter<Token>>;

/// Text, or the tokens of an action.
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut pieces = pieces(text)?.into_iter();
    let (nodes, end) = block(&mut pieces, 0)?;
    match end {
        None => Ok(nodes),
        Some(action) => Err(format!("a {{{{{}}}}} without its if, with or range", word_of(&action))),
    }
}

fn pieces(mut text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    while let Some((before, behind)) = text.split_once("{{") {
        let trims = behind.starts_with("- ");
        pieces.push(Piece::Text(if trims { before.trim_end() } else { before }.to_owned()));
        let behind = if trims { &behind[1..] } else { behind };
        if let Some(comment) = behind.strip_prefix("/*") {
            let (_, rest) = comment.split_once("*/}}").ok_or("a comment without its */}}")?;
            text = rest;
            continue;
        }
        let (tokens, rest) = action(behind)?;
        pieces.push(Piece::Action(tokens));
        text = rest;
    }
    pieces.push(Piece::Text(text.to_owned()));
    Ok(pieces)
}

/// The tokens up to `}}`, and what follows it.
fn action(mut text: &str) -> Result<(Vec<Token>, &str), String> {
    let mut tokens = Vec::new();
    loop {
        text = text.trim_start();
        if let Some(rest) = text.strip_prefix("-}}") {
            return Ok((tokens, rest.trim_start()));
        }
        if let Some(rest) = text.strip_prefix("}}") {
            return Ok((tokens, rest));
        }
        let Some(first) = text.chars().next() else { return Err("a {{ without its }}".to_owned()) };
        let rest = &text[first.len_utf8()..];
        let (token, rest) = match first {
            '|' => (Token::Pipe, rest),
            ',' => (Token::Comma, rest),
            '(' => (Token::Open, rest),
            ')' => {
                let (path, rest) = word(rest);
                (Token::Close(keys(path)?), rest)
            }
            '`' => {
                let (inside, rest) = rest.split_once('`').ok_or("a quote ` without its end")?;
                (Token::Text(inside.to_owned()), rest)
            }
            '"' => quoted(rest)?,
            _ => {
                let (word, rest) = word(text);
                if word.is_empty() {
                    return Err(format!("{first:?} makes no sense in a template"));
                }
                (Token::Word(word.to_owned()), rest)
            }
        };
        tokens.push(token);
        text = rest;
    }
}

fn word(text: &str) -> (&str, &str) {
    let is_end = |c: char| c.is_whitespace() || "|,()`\"{}".contains(c);
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

fn quoted(text: &str) -> Result<(Token, &str), String> {
    let mut inside = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(inside), &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => inside.push('\n'),
                Some((_, 't')) => inside.push('\t'),
                Some((_, escaped)) => inside.push(escaped),
                None => break,
            },
            c => inside.push(c),
        }
    }
    Err("a quote \" without its end".to_owned())
}

/// The names in `.a.b`.
fn keys(path: &str) -> Result<Vec<String>, String> {
    let Some(path) = path.strip_prefix('.') else {
        return if path.is_empty() { Ok(Vec::new()) } else { Err(format!("{path:?} makes no sense here")) };
    };
    let keys = path.split('.').filter(|_| !path.is_empty());
    keys.map(
        |key| if key.is_empty() { Err(format!(".{path} has an empty name")) } else { Ok(key.to_owned()) },
    )
    .collect()
}

/// Nodes up to `end` or `else`, which is answered.
fn block(pieces: &mut IntoIter<Piece>, depth: usize) -> Result<(Vec<Node>, Option<Vec<Token>>), String> {
    if depth > DEEPEST {
        return Err("its blocks lie too deep in each other".to_owned());
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let tokens = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        match word_of(&tokens) {
            "end" | "else" => return Ok((nodes, Some(tokens))),
            "if" | "with" | "range" => nodes.push(branch(tokens, pieces, depth)?),
            word @ ("define" | "template" | "block" | "break" | "continue") => {
                return Err(format!("{{{{{word}}}}} is not known here; there are if, with and range"));
            }
            _ => nodes.push(Node::Print(whole(tokens)?)),
        }
    }
    Ok((nodes, None))
}

fn branch(tokens: Vec<Token>, pieces: &mut IntoIter<Piece>, depth: usize) -> Result<Node, String> {
    let kind = word_of(&tokens).to_owned();
    let mut rest: Vec<Token> = tokens.into_iter().skip(1).collect();
    let names = if kind == "range" { variables(&mut rest)? } else { Vec::new() };
    let pipeline = whole(rest)?;
    let unended = || format!("a {{{{{kind}}}}} without its {{{{end}}}}");
    let (then, end) = block(pieces, depth + 1)?;
    let end = end.ok_or_else(unended)?;
    let other = match (word_of(&end), end.get(1)) {
        ("else", None) => {
            let (nodes, end) = block(pieces, depth + 1)?;
            if word_of(&end.ok_or_else(unended)?) != "end" {
                return Err(unended());
            }
            nodes
        }
        // `else if` is an if of its own that ends where this one does.
        ("else", Some(_)) => vec![branch(end.into_iter().skip(1).collect(), pieces, depth + 1)?],
        _ => Vec::new(),
    };
    match kind.as_str() {
        "if" => Ok(Node::If { condition: pipeline, then, other }),
        "with" => Ok(Node::With { value: pipeline, then, other }),
        "range" => Ok(Node::Range { names, over: pipeline, body: then, other }),
        word => Err(format!("{{{{else {word}}}}} makes no sense")),
    }
}

/// The names in `$key, $value := ...`, taken away.
fn variables(tokens: &mut Vec<Token>) -> Result<Vec<String>, String> {
    let Some(at) = tokens.iter().position(|token| *token == Token::Word(":=".to_owned())) else {
        return Ok(Vec::new());
    };
    let before: Vec<Token> = tokens.drain(..=at).collect();
    let names = before.iter().filter_map(|token| match token {
        Token::Word(word) => word.strip_prefix('$').map(str::to_owned),
        _ => None,
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() || names.len() > 2 {
        Err("range has one or two variables".to_owned())
    } else {
        Ok(names)
    }
}

fn word_of(tokens: &[Token]) -> &str {
    match tokens.first() {
        Some(Token::Word(word)) => word,
        _ => "",
    }
}

fn whole(tokens: Vec<Token>) -> Result<Pipeline, String> {
    let mut tokens = tokens.into_iter().peekable();
    let pipeline = pipeline(&mut tokens, 0)?;
    match tokens.next() {
        None => Ok(pipeline),
        Some(token) => Err(format!("{token:?} makes no sense there")),
    }
}

fn pipeline(tokens: &mut Tokens, depth: usize) -> Result<Pipeline, String> {
    if depth > DEEPEST {
        return Err("its parentheses lie too deep in each other".to_owned());
    }
    let mut commands = vec![Command(Vec::new())];
    while let Some(token) = tokens.next_if(|token| !matches!(token, Token::Close(_) | Token::Comma)) {
        let operand = match token {
            Token::Pipe => {
                commands.push(Command(Vec::new()));
                continue;
            }
            Token::Open => {
                let inside = pipeline(tokens, depth + 1)?;
                match tokens.next() {
                    Some(Token::Close(keys)) => Operand::Group(inside, keys),
                    _ => return Err("a ( without its )".to_owned()),
                }
            }
            Token::Text(text) => Operand::Literal(Value::String(text)),
            Token::Word(word) => operand(&word)?,
            Token::Close(_) | Token::Comma => break,
        };
        if let Some(command) = commands.last_mut() {
            command.0.push(operand);
        }
    }
    match commands.iter().any(|command| command.0.is_empty()) {
        true => Err("an empty command; write for example {{.ID}} or {{json .}}".to_owned()),
        false => Ok(Pipeline(commands)),
    }
}

fn operand(word: &str) -> Result<Operand, String> {
    if let Some(variable) = word.strip_prefix('$') {
        let (name, path) = variable.split_at(variable.find('.').unwrap_or(variable.len()));
        let origin = if name.is_empty() { Origin::Root } else { Origin::Variable(name.to_owned()) };
        return Ok(Operand::Path(origin, keys(path)?));
    }
    if word.starts_with('.') {
        return Ok(Operand::Path(Origin::Dot, keys(word)?));
    }
    if let Some(value) =
        serde_json::from_str(word).ok().filter(|value: &Value| value.is_number() || value.is_boolean())
    {
        return Ok(Operand::Literal(value));
    }
    function::check(word)?;
    Ok(Operand::Function(word.to_owned()))
}
