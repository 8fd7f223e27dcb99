//! Conditions of lists: `KEY=VALUE`. Which keys there are, the agent knows.

use proto::v1;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cmd) struct Filter {
    pub(in crate::cmd) key: String,
    pub(in crate::cmd) value: String,
}

impl From<Filter> for v1::Filter {
    fn from(filter: Filter) -> Self {
        Self { key: filter.key, value: filter.value }
    }
}

/// Reads `KEY=VALUE`.
///
/// # Errors
/// When there is no key or no `=`.
pub(in crate::cmd) fn parse(text: &str) -> Result<Filter, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok(Filter { key: key.trim().to_ascii_lowercase(), value: value.trim().to_owned() })
        }
        _ => Err(format!("{text:?} is no filter; expected KEY=VALUE, for example status=exited")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_a_key_and_a_value() {
        let filter = parse("label=a=b").expect("a filter");
        assert_eq!((filter.key.as_str(), filter.value.as_str()), ("label", "a=b"));
        assert!(parse("label").is_err() && parse("=x").is_err());
    }
}
