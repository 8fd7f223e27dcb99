//! What a template may call, and how values are printed: as Go prints them.

use std::cmp::Ordering;

use serde_json::Value;

const KNOWN: [&str; 21] = [
    "json", "index", "len", "join", "split", "lower", "upper", "title", "truncate", "pad", "print",
    "println", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not",
];

/// Refuses what cannot be called.
pub(super) fn check(name: &str) -> Result<(), String> {
    match KNOWN.contains(&name) {
        true => Ok(()),
        false => Err(format!("there is no function {name:?}; there are {}", KNOWN.join(", "))),
    }
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let wrong = || format!("{name} does not take these {} arguments", arguments.len());
    let truth = |is_so: bool| Ok(Value::Bool(is_so));
    match (name, arguments) {
        ("json", [value]) => Ok(Value::String(value.to_string())),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("len", [value]) => {
            length(value).map(Value::from).ok_or_else(|| format!("{} has no length", text(value)))
        }
        ("join", [Value::Array(items), by]) => {
            let items: Vec<String> = items.iter().map(text).collect();
            Ok(Value::String(items.join(&text(by))))
        }
        ("split", [value, by]) => Ok(text(value).split(&text(by)).map(Value::from).collect()),
        ("lower", [value]) => Ok(Value::String(text(value).to_lowercase())),
        ("upper", [value]) => Ok(Value::String(text(value).to_uppercase())),
        ("title", [value]) => Ok(Value::String(title(&text(value)))),
        ("truncate", [value, most]) => {
            let most = most.as_u64().and_then(|most| usize::try_from(most).ok()).ok_or_else(wrong)?;
            Ok(Value::String(text(value).chars().take(most).collect()))
        }
        ("pad", [value, before, after]) => {
            let blanks = |count: &Value| count.as_u64().filter(|count| *count <= 1_000).ok_or_else(wrong);
            let blank = |count| " ".repeat(usize::try_from(count).unwrap_or(0));
            let (before, after) = (blank(blanks(before)?), blank(blanks(after)?));
            Ok(Value::String(format!("{before}{}{after}", text(value))))
        }
        ("print", all) => Ok(Value::String(all.iter().map(text).collect())),
        ("println", all) => Ok(Value::String(all.iter().map(text).collect::<Vec<_>>().join(" ") + "\n")),
        ("eq", [value, others @ ..]) if !others.is_empty() => truth(others.contains(value)),
        ("ne", [one, other]) => truth(one != other),
        ("lt", [one, other]) => truth(order(one, other) == Some(Ordering::Less)),
        ("le", [one, other]) => truth(order(one, other).is_some_and(Ordering::is_le)),
        ("gt", [one, other]) => truth(order(one, other) == Some(Ordering::Greater)),
        ("ge", [one, other]) => truth(order(one, other).is_some_and(Ordering::is_ge)),
        ("and", [.., last]) => Ok(arguments.iter().find(|value| !is_true(value)).unwrap_or(last).clone()),
        ("or", [.., last]) => Ok(arguments.iter().find(|value| is_true(value)).unwrap_or(last).clone()),
        ("not", [value]) => truth(!is_true(value)),
        _ => check(name).and(Err(wrong())),
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match value {
        Value::Array(items) => {
            let at = key.as_u64().and_then(|at| usize::try_from(at).ok());
            let found = at.and_then(|at| items.get(at)).cloned();
            found.ok_or_else(|| format!("there is no item {} among {}", text(key), items.len()))
        }
        Value::Object(fields) => Ok(fields.get(&text(key)).cloned().unwrap_or_default()),
        Value::Null => Ok(Value::Null),
        other => Err(format!("{} has nothing to index", text(other))),
    }
}

fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64()?.partial_cmp(&other.as_f64()?),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::Array(items) => Some(items.len()),
        Value::Object(fields) => Some(fields.len()),
        Value::String(text) => Some(text.len()),
        _ => None,
    }
}

fn title(text: &str) -> String {
    let mut begins = true;
    let each = text.chars().flat_map(|c| {
        let shown: Vec<char> = if begins { c.to_uppercase().collect() } else { vec![c] };
        begins = c.is_whitespace();
        shown
    });
    each.collect()
}

/// What `if` takes for true.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_so) => *is_so,
        Value::Number(number) => number.as_f64() != Some(0.0),
        other => length(other) != Some(0),
    }
}

/// What `range` goes through, with keys.
pub(super) fn items(value: Value) -> Result<Vec<(Value, Value)>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            Ok(items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect())
        }
        Value::Object(fields) => Ok(fields.into_iter().map(|(key, item)| (key.into(), item)).collect()),
        other => Err(format!("{} is no list to range over", text(&other))),
    }
}

/// A value as Go prints it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{key}:{}", text(value)));
            format!("map[{}]", fields.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}
