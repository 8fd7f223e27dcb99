//! The conditions of a list: values by key. Those of one key are alternatives,
//! different keys must all hold; of labels, each must be there.

use std::collections::BTreeMap;

use proto::v1;
use tonic::Status;

use crate::error;

/// Most conditions of one request.
const MOST: usize = 256;

/// Conditions whose keys are known.
#[derive(Debug, Default)]
pub(super) struct Filters {
    values: BTreeMap<String, Vec<String>>,
}

impl Filters {
    /// Takes the conditions of a request, whose keys must be among `known`.
    pub(super) fn new(given: Vec<v1::Filter>, known: &[&str]) -> Result<Filters, Status> {
        if given.len() > MOST {
            return Err(error::invalid_field(
                "filters",
                format!("{} are given, at most {MOST}", given.len()),
            ));
        }
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for filter in given {
            if !known.contains(&filter.key.as_str()) {
                let rule = format!("there is no filter {:?}; there are {}", filter.key, known.join(", "));
                return Err(error::invalid_field("filter", rule));
            }
            values.entry(filter.key).or_default().push(filter.value);
        }
        Ok(Filters { values })
    }

    /// Refuses values of a key that are none of these.
    pub(super) fn check(&self, key: &str, known: &[&str]) -> Result<(), Status> {
        match self.values(key).iter().find(|value| !known.contains(&value.as_str())) {
            Some(value) => {
                let rule = format!("there is no {key} {value:?}; there are {}", known.join(", "));
                Err(error::invalid_field("filter", rule))
            }
            None => Ok(()),
        }
    }

    /// The values of a key.
    pub(super) fn values(&self, key: &str) -> &[String] {
        self.values.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether nothing is asked of this key, or one of its values is as wanted.
    pub(super) fn admits(&self, key: &str, is_so: impl Fn(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().any(|value| is_so(value))
    }

    /// Whether all labels that are asked for, `key` or `key=value`, are among these.
    pub(super) fn admits_labels(&self, get: impl Fn(&str) -> Option<String>) -> bool {
        self.values("label").iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => get(key).is_some_and(|own| own == value),
            None => get(wanted).is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(key: &str, value: &str) -> v1::Filter {
        v1::Filter { key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn values_of_a_key_are_alternatives_and_labels_must_all_be_there() {
        let given =
            vec![filter("name", "a"), filter("name", "b"), filter("label", "x=1"), filter("label", "y")];
        let filters = Filters::new(given, &["name", "label"]).unwrap();
        assert!(
            filters.admits("name", |value| value == "b") && !filters.admits("name", |value| value == "c")
        );
        assert!(filters.admits("id", |_| false), "nothing is asked of it");
        let labels = |x: &'static str| {
            move |key: &str| match key {
                "x" => Some(x.to_owned()),
                "y" => Some(String::new()),
                _ => None,
            }
        };
        assert!(filters.admits_labels(labels("1")) && !filters.admits_labels(labels("2")));
    }

    #[test]
    fn an_unknown_key_is_refused_with_those_there_are() {
        let refused = Filters::new(vec![filter("nmae", "a")], &["name"]).unwrap_err();
        assert!(refused.message().contains("nmae") && refused.message().contains("name"), "{refused}");
        let filters = Filters::new(vec![filter("type", "contaner")], &["type"]).unwrap();
        assert!(filters.check("type", &["container"]).unwrap_err().message().contains("contaner"));
        assert!(filters.check("type", &["contaner"]).is_ok() && filters.check("scope", &[]).is_ok());
    }
}
