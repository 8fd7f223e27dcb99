//! `--format`: Docker's way to say how data is printed. `--output` says it for every command, with names of fields of
//! our own; here they are called as in Docker, so that what was written for Docker goes on working.

use serde_json::{Map, Value};

use super::template::Template;
use super::{Format, Row};
use crate::error::{CommandError, Kind};

/// What `--format` asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// As `--output`.
    Plain(Format),
    /// One line for each object.
    Lines(Template),
    /// Columns, with headings.
    Columns(Template),
}

/// A row whose fields have names in Docker.
pub trait Named: Row {
    /// Name, heading and value of each.
    fn fields(&self) -> Vec<(&'static str, &'static str, Value)>;
}

/// Reads `table`, `json`, `TEMPLATE` or `table TEMPLATE`.
///
/// # Errors
/// What in the template makes no sense.
pub fn shape(text: &str) -> Result<Shape, String> {
    match text {
        "table" => return Ok(Shape::Plain(Format::Table)),
        "json" => return Ok(Shape::Plain(Format::Json)),
        _ => {}
    }
    let (template, is_table) = match text.strip_prefix("table ") {
        Some(template) => (template, true),
        None => (text, false),
    };
    if !template.contains("{{") {
        return Err("expected table, json, or a template such as '{{.ID}}'".to_owned());
    }
    let template = template.trim_start().parse()?;
    Ok(if is_table { Shape::Columns(template) } else { Shape::Lines(template) })
}

/// Prints a list; nothing when it is empty and made by a template.
///
/// # Errors
/// When the template asks for what there is not.
pub fn print<R: Named>(shape: &Shape, rows: &[R]) -> Result<(), CommandError> {
    let text = shape.list(rows)?;
    if !text.is_empty() {
        super::line(&text);
    }
    Ok(())
}

/// Fills the template with a value.
///
/// # Errors
/// When it asks for what there is not.
pub fn filled(template: &Template, value: &Value) -> Result<String, CommandError> {
    template.render(value).map_err(|reason| CommandError::new(Kind::Usage, format!("--format: {reason}")))
}

impl Shape {
    /// A list of objects, without a line feed at its end.
    ///
    /// # Errors
    /// When a template asks for what there is not.
    pub fn list<R: Named>(&self, rows: &[R]) -> Result<String, CommandError> {
        let of =
            |row: &R| row.fields().into_iter().map(|(name, _, value)| (name.to_owned(), value)).collect();
        let objects = rows.iter().map(|row| Value::Object(of(row)));
        match self {
            Self::Plain(Format::Table) => Ok(super::table(rows)),
            Self::Plain(Format::Json) => Ok(serde_json::to_string_pretty(rows).unwrap_or_default()),
            Self::Lines(template) => {
                let lines = objects.map(|object| filled(template, &object)).collect::<Result<Vec<_>, _>>();
                Ok(lines?.join("\n"))
            }
            Self::Columns(template) => {
                let headings = rows.first().map(|row| row.fields()).unwrap_or_default().into_iter();
                let headings: Map<String, Value> =
                    headings.map(|(name, heading, _)| (name.to_owned(), heading.into())).collect();
                let first = (!headings.is_empty()).then_some(Value::Object(headings));
                let lines = first.into_iter().chain(objects).map(|object| filled(template, &object));
                Ok(aligned(&lines.collect::<Result<Vec<_>, _>>()?))
            }
        }
    }
}

/// Lines whose cells, which tabs part, stand below each other.
fn aligned(lines: &[String]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        for (column, cell) in line.split('\t').enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let shown = lines.iter().map(|line| {
        let cells = line.split('\t').zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Thing(&'static str, u32);

    impl Row for Thing {
        fn headings() -> Vec<&'static str> {
            vec!["THING"]
        }
        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned()]
        }
    }

    impl Named for Thing {
        fn fields(&self) -> Vec<(&'static str, &'static str, Value)> {
            vec![("Name", "THING", self.0.into()), ("Count", "HOW MANY", self.1.into())]
        }
    }

    #[test]
    fn a_list_has_lines_or_columns_by_template() {
        let things = [Thing("a", 1), Thing("longer name", 22)];
        let shown =
            |text: &str| shape(text).and_then(|shape| shape.list(&things).map_err(|error| error.to_string()));
        assert_eq!(shown("{{.Name}}={{.Count}}"), Ok("a=1\nlonger name=22".to_owned()));
        let table = shown("table {{.Name}}\\t{{.Count}}").expect("a table");
        assert_eq!(table, "THING         HOW MANY\na             1\nlonger name   22");
        assert_eq!(shown("table"), Ok("THING\na\nlonger name".to_owned()));
        assert!(shown("json").expect("JSON").starts_with('['));
        assert!(shown("{{.Nme}}").expect_err("no such field").contains("Count, Name"));
        assert!(shape("xml").is_err() && shape("{{.ID").is_err());
    }
}
