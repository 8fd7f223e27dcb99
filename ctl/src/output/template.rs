//! Docker's `--format`: the templates of Go, as far as people write them on a command line. `parse` reads one,
//! `function` has what may be called in it; here a value is printed with it.
//!
//! A name fits whatever its case and without regard to `_`, so `.State.ExitCode` finds `exit_code`. The first name
//! of a path has to be there, and the error says which are; what is missing further down prints as `<no value>`,
//! as in Docker. Deliberately absent: `define`, `template`, `printf`, and assignments.

mod function;
mod parse;

use serde_json::Value;

use self::parse::{Command, Node, Operand, Origin, Pipeline};

/// So much may be printed of one value.
const MOST: usize = 16 << 20;

/// A template that has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

impl std::str::FromStr for Template {
    type Err = String;

    /// Reads a template; `\t` and `\n` in it are a tab and a line feed.
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self { nodes: parse::parse(&text.replace("\\t", "\t").replace("\\n", "\n"))? })
    }
}

/// What `.`, `$` and variables are.
struct Scope<'v> {
    dot: &'v Value,
    root: &'v Value,
    variables: Vec<(&'v str, Value)>,
}

impl Template {
    /// A value as the template has it.
    ///
    /// # Errors
    /// What in the template does not fit the value.
    pub fn render(&self, value: &Value) -> Result<String, String> {
        let mut out = String::new();
        print(&self.nodes, &Scope { dot: value, root: value, variables: Vec::new() }, &mut out)?;
        Ok(out)
    }
}

fn print(nodes: &[Node], scope: &Scope<'_>, out: &mut String) -> Result<(), String> {
    for node in nodes {
        if out.len() > MOST {
            return Err(format!("the template prints more than {MOST} bytes"));
        }
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(pipeline) => out.push_str(&function::text(&evaluate(pipeline, scope)?)),
            Node::If { condition, then, other } => {
                let is_so = function::is_true(&evaluate(condition, scope)?);
                print(if is_so { then } else { other }, scope, out)?;
            }
            Node::With { value, then, other } => match evaluate(value, scope)? {
                value if function::is_true(&value) => within(&value, None, then, scope, out)?,
                _ => print(other, scope, out)?,
            },
            Node::Range { names, over, body, other } => {
                let items = function::items(evaluate(over, scope)?)?;
                if items.is_empty() {
                    print(other, scope, out)?;
                }
                for (key, item) in &items {
                    within(item, Some((names, key)), body, scope, out)?;
                }
            }
        }
    }
    Ok(())
}

/// Prints with another `.`, and with the variables of a round.
fn within(
    dot: &Value,
    round: Option<(&[String], &Value)>,
    nodes: &[Node],
    scope: &Scope<'_>,
    out: &mut String,
) -> Result<(), String> {
    let mut variables: Vec<(&str, Value)> = scope.variables.clone();
    match round {
        Some(([value], _)) => variables.push((value, dot.clone())),
        Some(([name, value], key)) => variables.extend([(name.as_str(), key.clone()), (value, dot.clone())]),
        _ => {}
    }
    print(nodes, &Scope { dot, root: scope.root, variables }, out)
}

fn evaluate(pipeline: &Pipeline, scope: &Scope<'_>) -> Result<Value, String> {
    let mut carried = None;
    for command in &pipeline.0 {
        carried = Some(call(command, carried, scope)?);
    }
    Ok(carried.unwrap_or_default())
}

/// One command, with what the one before it made as its last argument.
fn call(command: &Command, carried: Option<Value>, scope: &Scope<'_>) -> Result<Value, String> {
    let (first, rest) = command.0.split_first().ok_or("an empty command")?;
    let mut arguments = rest.iter().map(|one| operand(one, scope)).collect::<Result<Vec<_>, _>>()?;
    arguments.extend(carried);
    match first {
        Operand::Function(name) => function::call(name, &arguments),
        other => {
            let value = operand(other, scope)?;
            // Docker's lists have a method: `.Label "part"`, which is empty where there is none; in a heading it is a name.
            let found = arguments.into_iter().try_fold(value, |value, key| match value {
                Value::String(heading) => Ok(Value::String(heading)),
                value => function::call("index", &[value, key]),
            })?;
            Ok(if found.is_null() && command.0.len() > 1 { Value::String(String::new()) } else { found })
        }
    }
}

fn operand(operand: &Operand, scope: &Scope<'_>) -> Result<Value, String> {
    match operand {
        Operand::Function(name) => function::call(name, &[]),
        Operand::Literal(value) => Ok(value.clone()),
        Operand::Group(pipeline, keys) => Ok(descend(&evaluate(pipeline, scope)?, keys)),
        Operand::Path(origin, keys) => {
            let (start, must_exist) = match origin {
                Origin::Dot => (scope.dot, std::ptr::eq(scope.dot, scope.root)),
                Origin::Root => (scope.root, true),
                Origin::Variable(name) => {
                    let known = scope.variables.iter().rev().find(|(known, _)| known == name);
                    (known.map(|(_, value)| value).ok_or_else(|| format!("there is no ${name}"))?, false)
                }
            };
            if let (Some(key), Value::Object(fields), true) = (keys.first(), start, must_exist)
                && field(start, key).is_none()
            {
                let known: Vec<&str> = fields.keys().map(String::as_str).collect();
                return Err(format!("there is no .{key}; there are {}", known.join(", ")));
            }
            Ok(descend(start, keys))
        }
    }
}

fn descend(value: &Value, keys: &[String]) -> Value {
    keys.iter().try_fold(value, |value, key| field(value, key)).cloned().unwrap_or_default()
}

/// A field by its name, the exact one first.
fn field<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let fields = value.as_object()?;
    fields
        .get(key)
        .or_else(|| fields.iter().find(|(name, _)| plain(name) == plain(key)).map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> Result<String, String> {
        let value = json!({
            "ID": "abc", "names": ["a", "b"], "size": 7, "on": true, "empty": [],
            "state": {"exit_code": 3, "health": null},
            "Labels": {"part": "db", "x.y": "1"},
        });
        template.parse::<Template>()?.render(&value)
    }

    #[test]
    fn templates_print_what_they_print_in_docker() {
        for (template, expected) in [
            ("{{.ID}}\\t{{ .size }}", "abc\t7"),
            ("{{.State.ExitCode}} {{.state.exit_code}}", "3 3"),
            ("{{json .Labels}}", r#"{"part":"db","x.y":"1"}"#),
            ("{{.Labels.part}} {{index .Labels \"x.y\"}} {{index .names 1}}", "db 1 b"),
            ("{{.Labels.none}}|{{.state.health}}", "<no value>|<no value>"),
            ("{{range .names}}[{{.}}{{$.ID}}]{{end}}", "[aabc][babc]"),
            ("{{range $i, $n := .names}}{{if $i}},{{end}}{{$n}}{{end}}", "a,b"),
            ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "part=db;x.y=1;"),
            ("{{range .empty}}x{{else}}none{{end}}", "none"),
            ("{{if eq .ID \"abc\"}}yes{{else}}no{{end}}", "yes"),
            ("{{if not .on}}a{{else if and .on (gt .size 5)}}b{{end}}", "b"),
            ("{{with .state}}{{.exit_code}}{{end}}{{with .empty}}x{{end}}", "3"),
            ("{{join .names \"-\" | upper}} {{len .names}}", "A-B 2"),
            ("{{ .names | json }} {{.names}} {{.Labels}}", r#"["a","b"] [a b] map[part:db x.y:1]"#),
            ("a {{- .ID -}} b", "aabcb"),
            ("{{.Labels \"part\"}}{{.Labels \"none\"}}", "db"),
            ("{{/* nothing */}}{{`raw`}}{{\"q\\\"\"}}", "rawq\""),
            ("no action", "no action"),
        ] {
            assert_eq!(render(template), Ok(expected.to_owned()), "{template}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error_that_says_what_would() {
        for (template, said) in [
            ("{{.ID", "}}"),
            ("{{.Nonsense}}", "there are"),
            ("{{nonsense .ID}}", "json"),
            ("{{if .ID}}", "end"),
            ("{{end}}", "end"),
            ("{{}}", "empty"),
            ("{{.ID \"a}}", "quote"),
            ("{{range .ID}}{{end}}", "list"),
            ("{{$x}}", "$x"),
            ("{{index .names 9}}", "9"),
            ("{{define \"a\"}}{{end}}", "define"),
        ] {
            let error = render(template).expect_err(template);
            assert!(error.contains(said), "{template}: {error}");
        }
        let deep = format!("{{{{{}.ID{}}}}}", "(".repeat(1_000), ")".repeat(1_000));
        assert!(render(&deep).is_err());
    }
}
