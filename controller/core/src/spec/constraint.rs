//! Placement constraints: `<what of the node>==<value>` or `!=`.
//!
//! What may be compared: `node.id`, `node.hostname`, `node.platform.os`, `node.platform.arch` and
//! `node.labels.<name>`. A label that a node lacks counts as empty.

use std::fmt;

use crate::object::Node;

/// A constraint that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a constraint: write node.hostname==NAME, node.labels.KEY!=VALUE, or node.id, node.platform.os, node.platform.arch"
)]
pub struct ConstraintError {
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Id,
    Hostname,
    Os,
    Architecture,
    Label(String),
}

/// One parsed constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    subject: Subject,
    equal: bool,
    value: String,
}

impl Constraint {
    /// Reads one constraint.
    ///
    /// # Errors
    /// When the text has another form or compares something else.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        let wrong = || ConstraintError { text: text.to_owned() };
        let at = text.find("==").into_iter().chain(text.find("!=")).min().ok_or_else(wrong)?;
        let (subject, value) = (text[..at].trim(), text[at + 2..].trim());
        let subject = match subject {
            "node.id" => Subject::Id,
            "node.hostname" => Subject::Hostname,
            "node.platform.os" => Subject::Os,
            "node.platform.arch" => Subject::Architecture,
            other => match other.strip_prefix("node.labels.") {
                Some(label) if !label.is_empty() => Subject::Label(label.to_owned()),
                _ => return Err(wrong()),
            },
        };
        if value.is_empty() {
            return Err(wrong());
        }
        Ok(Self { subject, equal: text[at..].starts_with("=="), value: value.to_owned() })
    }

    /// Whether `node` may run what this constrains.
    #[must_use]
    pub fn allows(&self, node: &Node) -> bool {
        let description = &node.description;
        let found = match &self.subject {
            Subject::Id => node.id.as_str(),
            Subject::Hostname => &node.name,
            Subject::Os => &description.os,
            Subject::Architecture => &description.architecture,
            Subject::Label(label) => description.labels.get(label).map_or("", String::as_str),
        };
        (found == self.value) == self.equal
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Id => f.write_str("node.id")?,
            Subject::Hostname => f.write_str("node.hostname")?,
            Subject::Os => f.write_str("node.platform.os")?,
            Subject::Architecture => f.write_str("node.platform.arch")?,
            Subject::Label(label) => write!(f, "node.labels.{label}")?,
        }
        write!(f, "{}{}", if self.equal { "==" } else { "!=" }, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_what_was_written() {
        for text in [
            "node.hostname==n1",
            "node.labels.zone!=a",
            "node.platform.os==linux",
            "node.id!=x",
            "node.labels.a==b==c",
        ] {
            assert_eq!(Constraint::parse(text).map(|c| c.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in ["", "zone==a", "node.labels.==a", "node.hostname=n1", "node.hostname==", "=="] {
            assert!(Constraint::parse(text).is_err(), "{text}");
        }
    }
}
