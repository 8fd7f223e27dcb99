//! What is kept of what a service's containers write. The controller knows which drivers and options there are, so that
//! a mistake is told at once; values are judged by the agent that makes the container.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The drivers an agent has.
const DRIVERS: [&str; 3] = ["local", "json-file", "none"];

/// The options of those that keep something.
const OPTIONS: [&str; 10] = [
    "max-size",
    "max-file",
    "compress",
    "mode",
    "max-buffer-size",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
];

/// The most bytes of one value.
const MOST_VALUE: usize = 4096;

/// A log driver and its options; empty is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// `local`, `json-file` or `none`; empty means `local`.
    pub driver: String,
    /// Docker's options, by name.
    pub options: BTreeMap<String, String>,
}

impl Logging {
    /// The first rule that is broken.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.driver.is_empty() && !DRIVERS.contains(&self.driver.as_str()) {
            return Err(format!("there is no driver {:?}; there are {}", self.driver, DRIVERS.join(", ")));
        }
        for (option, value) in &self.options {
            if self.driver == "none" {
                return Err(format!("the driver none keeps nothing, so it has no option {option:?}"));
            }
            if !OPTIONS.contains(&option.as_str()) {
                return Err(format!("there is no option {option:?}; there are {}", OPTIONS.join(", ")));
            }
            if value.len() > MOST_VALUE || value.contains('\0') {
                return Err(format!("{option} must be at most {MOST_VALUE} bytes without a zero byte"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(driver: &str, option: &str) -> Result<(), String> {
        let options = [(option.to_owned(), "1".to_owned())].into_iter().filter(|(name, _)| !name.is_empty());
        Logging { driver: driver.to_owned(), options: options.collect() }.check()
    }

    #[test]
    fn a_driver_or_option_that_no_agent_has_is_refused() {
        for (driver, option) in
            [("", ""), ("none", ""), ("local", "max-size"), ("", "tag"), ("json-file", "compress")]
        {
            assert_eq!(check(driver, option), Ok(()));
        }
        assert!(check("journald", "").is_err_and(|rule| rule.contains("json-file")));
        assert!(check("none", "max-size").is_err_and(|rule| rule.contains("keeps nothing")));
        assert!(check("local", "max-sise").is_err_and(|rule| rule.contains("max-size")));
        let long = Logging { options: [("tag".to_owned(), "x".repeat(5_000))].into(), ..Logging::default() };
        assert!(long.check().is_err());
    }
}
