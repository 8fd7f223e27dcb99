//! The configuration of an image made of a container: what the container was run with, changed by instructions in
//! the words of a Dockerfile. Pure; it only says what later containers start from by default.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::record::Record;
use super::spec::merge_environment;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Instruction {
    Cmd(Vec<String>),
    Entrypoint(Vec<String>),
    Env(Vec<(String, String)>),
    Expose(Vec<String>),
    Label(Vec<(String, String)>),
    Onbuild(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

impl FromStr for Instruction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        let rest = rest.trim();
        let needs = |what: &str| format!("{text:?}: {} needs {what}", word.to_uppercase());
        if rest.is_empty() && !matches!(word.to_uppercase().as_str(), "CMD" | "ENTRYPOINT") {
            return Err(needs("an argument"));
        }
        Ok(match word.to_uppercase().as_str() {
            "CMD" => Instruction::Cmd(program(rest)),
            "ENTRYPOINT" => Instruction::Entrypoint(program(rest)),
            "ENV" => Instruction::Env(pairs(rest).ok_or_else(|| needs("NAME=VALUE"))?),
            "LABEL" => Instruction::Label(pairs(rest).ok_or_else(|| needs("KEY=VALUE"))?),
            "EXPOSE" => {
                let ports: Option<Vec<String>> = words(rest).iter().map(|word| port(word)).collect();
                Instruction::Expose(ports.ok_or_else(|| needs("ports: 80 or 53/udp"))?)
            }
            "ONBUILD" => Instruction::Onbuild(rest.to_owned()),
            "USER" => Instruction::User(rest.to_owned()),
            "VOLUME" => Instruction::Volume(list(rest).unwrap_or_else(|| words(rest))),
            "WORKDIR" => Instruction::Workdir(rest.to_owned()),
            _ => {
                return Err(format!(
                    "{text:?}: an image's configuration is changed by CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, \
                     USER, VOLUME and WORKDIR only"
                ));
            }
        })
    }
}

/// A JSON list is the program and its arguments; anything else is a line for a shell.
fn program(text: &str) -> Vec<String> {
    match list(text) {
        Some(words) => words,
        None if text.is_empty() => Vec::new(),
        None => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()],
    }
}

fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// `80`, `80/tcp` or `53/udp`, as configurations write them.
fn port(word: &str) -> Option<String> {
    let (number, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let number: u16 = number.parse().ok().filter(|number| *number > 0)?;
    matches!(protocol, "tcp" | "udp" | "sctp").then(|| format!("{number}/{protocol}"))
}

/// `A=1 B="two words"`, or the old `A the rest of the line`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let words = words(text);
    if !words.first()?.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: &String| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let pairs: Option<Vec<_>> = words.iter().map(pair).collect();
    pairs.filter(|pairs| pairs.iter().all(|(name, _)| !name.is_empty()))
}

/// Words with quotes and backslashes as in a shell; nothing is expanded.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Writes into an image's `config` what the container was run with, then the instructions.
pub(crate) fn configure(config: &mut Map<String, Value>, record: &Record, instructions: &[Instruction]) {
    let asked = &record.config;
    config.insert("Env".to_owned(), json!(record.env));
    config.insert("WorkingDir".to_owned(), json!(record.working_dir));
    if !asked.user.is_empty() {
        config.insert("User".to_owned(), json!(asked.user));
    }
    if !asked.entrypoint.is_empty() {
        let given: &[String] = if asked.entrypoint == [""] { &[] } else { &asked.entrypoint };
        config.insert("Entrypoint".to_owned(), json!(given));
        config.insert("Cmd".to_owned(), json!(asked.command));
    } else if !asked.command.is_empty() {
        config.insert("Cmd".to_owned(), json!(asked.command));
    }
    for (key, value) in &asked.labels {
        put(config, "Labels", key, json!(value));
    }
    for mapping in &asked.ports {
        put(config, "ExposedPorts", &format!("{}/{}", mapping.target, mapping.protocol), json!({}));
    }
    change(config, instructions);
}

/// Writes the instructions into an image's `config`.
pub(crate) fn change(config: &mut Map<String, Value>, instructions: &[Instruction]) {
    instructions.iter().for_each(|instruction| apply(config, instruction));
}

fn apply(config: &mut Map<String, Value>, instruction: &Instruction) {
    match instruction {
        Instruction::Cmd(words) => {
            config.insert("Cmd".to_owned(), json!(words));
        }
        Instruction::Entrypoint(words) => {
            config.insert("Entrypoint".to_owned(), json!(words));
        }
        Instruction::Env(pairs) => {
            let known: Vec<String> = config
                .get("Env")
                .and_then(|list| serde_json::from_value(list.clone()).ok())
                .unwrap_or_default();
            let new: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            config.insert("Env".to_owned(), json!(merge_environment(&[&known, &new])));
        }
        Instruction::Label(pairs) => {
            pairs.iter().for_each(|(key, value)| put(config, "Labels", key, json!(value)));
        }
        Instruction::Expose(ports) => {
            ports.iter().for_each(|port| put(config, "ExposedPorts", port, json!({})));
        }
        Instruction::Volume(paths) => paths.iter().for_each(|path| put(config, "Volumes", path, json!({}))),
        Instruction::Onbuild(text) => {
            let list = config.entry("OnBuild").or_insert_with(|| json!([]));
            if !list.is_array() {
                *list = json!([]);
            }
            if let Some(list) = list.as_array_mut() {
                list.push(json!(text));
            }
        }
        Instruction::User(user) => {
            config.insert("User".to_owned(), json!(user));
        }
        Instruction::Workdir(path) => {
            let before = config.get("WorkingDir").and_then(Value::as_str).unwrap_or("/");
            let joined = std::path::Path::new(if before.is_empty() { "/" } else { before }).join(path);
            config.insert("WorkingDir".to_owned(), json!(joined));
        }
    }
}

/// Sets one key of a map that may be missing or `null`.
fn put(config: &mut Map<String, Value>, map: &str, key: &str, value: Value) {
    let entry = config.entry(map).or_insert_with(|| json!({}));
    if !entry.is_object() {
        *entry = json!({});
    }
    if let Some(fields) = entry.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: &Value, changes: &[&str]) -> Value {
        let mut config = before.as_object().cloned().unwrap();
        for change in changes {
            apply(&mut config, &change.parse().unwrap());
        }
        Value::Object(config)
    }

    #[test]
    fn instructions_change_the_configuration_as_in_a_dockerfile() {
        let before = json!({"Env": ["A=1", "B=2"], "Labels": null, "WorkingDir": "/srv"});
        let changes = [
            "CMD [\"/bin/a\", \"-x\"]",
            "entrypoint run it",
            "ENV B=3 C=\"two words\"",
            "ENV OLD way of it",
            "LABEL a=b",
            "EXPOSE 80 53/udp",
            "VOLUME [\"/data\"]",
            "VOLUME /more /still",
            "USER 1000:1000",
            "WORKDIR sub",
            "ONBUILD RUN x",
        ];
        let expected = json!({
            "Cmd": ["/bin/a", "-x"], "Entrypoint": ["/bin/sh", "-c", "run it"],
            "Env": ["A=1", "B=3", "C=two words", "OLD=way of it"], "Labels": {"a": "b"},
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/data": {}, "/more": {}, "/still": {}},
            "User": "1000:1000", "WorkingDir": "/srv/sub", "OnBuild": ["RUN x"],
        });
        assert_eq!(changed(&before, &changes), expected);
    }

    #[test]
    fn what_is_no_such_instruction_is_refused_with_its_text() {
        for text in ["RUN rm -rf /", "ENV", "ENV =x", "EXPOSE none", "EXPOSE 0", "LABEL", "", "COPY a b"] {
            let fault = text.parse::<Instruction>().unwrap_err();
            assert!(fault.contains(&format!("{text:?}")), "{fault}");
        }
    }
}
