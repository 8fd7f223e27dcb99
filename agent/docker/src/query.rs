//! Query parameters as Docker reads them: which of two counts, what is false,
//! and the two spellings of `filters`.

use std::collections::BTreeMap;

use axum::extract::Query;
use serde::Deserialize;

use crate::error::ApiError;

/// The parameters of a request, in their order.
pub(crate) type Params = Query<Vec<(String, String)>>;

/// A parameter; the first of two counts.
pub(crate) fn text<'p>(params: &'p Params, name: &str) -> Option<&'p str> {
    params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Whether a parameter is given and not one of Docker's words for false.
pub(crate) fn flag(params: &Params, name: &str) -> bool {
    text(params, name).is_some_and(is_true)
}

/// Docker reads these, and nothing else, as false.
pub(crate) fn is_true(value: &str) -> bool {
    !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

/// A moment as Docker's filters have it, in milliseconds since 1970: seconds since 1970, a time, or how long ago.
pub(crate) fn moment_ms(text: &str) -> Result<u64, String> {
    let wrong = || "expected how long ago (24h), a time, or seconds since 1970".to_owned();
    let ms = |moment: i64| u64::try_from(moment).map_err(|_| wrong());
    if let Ok(seconds) = text.parse::<f64>() {
        // Nanoseconds after the point are more than is asked for here.
        return jiff::Timestamp::from_duration(
            jiff::SignedDuration::try_from_secs_f64(seconds).map_err(|_| wrong())?,
        )
        .map_err(|_| wrong())
        .and_then(|moment| ms(moment.as_millisecond()));
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return ms(moment.as_millisecond());
    }
    let ago: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    let moment = jiff::Timestamp::now().checked_sub(ago).map_err(|_| wrong())?;
    ms(moment.as_millisecond())
}

/// What a list is to be reduced to: values by the name of the filter.
#[derive(Debug, Default)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

/// Go's clients send the map, Python's the list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Map(BTreeMap<String, bool>),
    List(Vec<String>),
}

impl Filters {
    /// Reads `filters`, of which `known` are understood and `later` exist, but not here.
    pub(crate) fn of(params: &Params, known: &[&str], later: &[&str]) -> Result<Self, ApiError> {
        let Some(text) = text(params, "filters").filter(|text| !text.trim().is_empty()) else {
            return Ok(Self::default());
        };
        let sent: BTreeMap<String, Values> = serde_json::from_str(text)
            .map_err(|error| ApiError::BadRequest(format!("invalid filters: {error}")))?;
        let mut filters = BTreeMap::new();
        for (name, values) in sent {
            if later.contains(&name.as_str()) {
                return Err(ApiError::NotSupported(format!("filter '{name}'")));
            }
            if !known.contains(&name.as_str()) {
                return Err(ApiError::BadRequest(format!("invalid filter '{name}'")));
            }
            let values = match values {
                Values::Map(map) => map.into_iter().filter_map(|(value, set)| set.then_some(value)).collect(),
                Values::List(list) => list,
            };
            filters.insert(name, values);
        }
        Ok(Self(filters))
    }

    /// The values of a filter; none when it is not given.
    pub(crate) fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a filter is absent or `matches` one of its values.
    pub(crate) fn admits(&self, name: &str, matches: impl Fn(&str) -> bool) -> bool {
        let values = self.values(name);
        values.is_empty() || values.iter().any(|value| matches(value))
    }

    /// Whether `labels` have every `key` and `key=value` that is asked for.
    pub(crate) fn admits_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label").iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        })
    }

    /// The one value of a filter that is a boolean.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.values(name) {
            [] => Ok(None),
            [value] if matches!(value.as_str(), "1" | "true") => Ok(Some(true)),
            [value] if matches!(value.as_str(), "0" | "false") => Ok(Some(false)),
            values => Err(ApiError::BadRequest(format!("invalid filter '{name}={}'", values.join(",")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(filters: &str) -> Params {
        Query(vec![("filters".to_owned(), filters.to_owned())])
    }

    #[test]
    fn flags_are_read_as_docker_reads_them() {
        for (value, expected) in
            [("1", true), ("True", true), ("yes", true), ("0", false), ("False", false), ("", false)]
        {
            assert_eq!(is_true(value), expected, "{value:?}");
        }
    }

    #[test]
    fn both_spellings_of_filters_mean_the_same() {
        for text in [r#"{"label":{"a=b":true,"c":true,"d":false}}"#, r#"{"label":["a=b","c"]}"#] {
            let filters = Filters::of(&params(text), &["label"], &[]).unwrap();
            assert_eq!(filters.values("label"), ["a=b", "c"], "{text}");
            let labels = |pairs: &[(&str, &str)]| {
                pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
            };
            assert!(filters.admits_labels(&labels(&[("a", "b"), ("c", "")])));
            assert!(!filters.admits_labels(&labels(&[("a", "x"), ("c", "")])));
            assert!(!filters.admits_labels(&labels(&[("a", "b")])));
        }
    }

    #[test]
    fn moments_are_seconds_times_or_how_long_ago() {
        assert_eq!(moment_ms("1700000000").unwrap(), 1_700_000_000_000);
        assert_eq!(moment_ms("1700000000.5").unwrap(), 1_700_000_000_500);
        assert_eq!(moment_ms("2023-11-14T22:13:20Z").unwrap(), 1_700_000_000_000);
        let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
        assert!(now - moment_ms("24h").unwrap() < 86_500_000);
        for text in ["soon", "-5", "", "1e300", "NaN"] {
            assert!(moment_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn filters_that_nobody_knows_are_refused() {
        let refusal =
            |text| Filters::of(&params(text), &["label"], &["health"]).map(drop).unwrap_err().to_string();
        assert_eq!(refusal(r#"{"colour":["red"]}"#), "invalid filter 'colour'");
        assert!(refusal(r#"{"health":["none"]}"#).contains("not supported"));
        assert!(refusal("[1]").contains("invalid filters"));
        assert!(Filters::of(&params(""), &[], &[]).is_ok(), "an empty one is none");
    }
}
