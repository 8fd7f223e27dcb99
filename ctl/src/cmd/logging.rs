//! `--log-driver` and `--log-opt`, of containers and of services: what of their output is kept. Which drivers and
//! options there are, the agent knows.

use std::collections::HashMap;

use proto::v1;

/// Logs.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Logs")]
pub struct Logging {
    /// How its output is kept: local (the default), json-file as Docker does it, or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// An option of that: max-size, max-file, compress, mode, max-buffer-size, labels, labels-regex, env, env-regex, tag
    #[arg(long, value_name = "NAME=VALUE", value_parser = option)]
    log_opt: Vec<(String, String)>,
}

/// The last of several values counts, as in Docker.
fn option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no option; expected NAME=VALUE, for example max-size=10m")),
    }
}

impl Logging {
    /// What is asked for; `None` when nothing is said.
    pub fn asked(self) -> Option<v1::Logging> {
        let mut logging = None;
        self.change(&mut logging);
        logging
    }

    /// Changes what was asked for before. Another driver begins without options, and the empty one is the default.
    pub fn change(self, logging: &mut Option<v1::Logging>) {
        if let Some(driver) = self.log_driver {
            *logging = (!driver.is_empty()).then(|| v1::Logging { driver, options: HashMap::new() });
        }
        if !self.log_opt.is_empty() {
            logging.get_or_insert_default().options.extend(self.log_opt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_has_a_name_and_a_value() {
        assert_eq!(option("tag=a=b"), Ok(("tag".to_owned(), "a=b".to_owned())));
        assert!(option("max-size").is_err() && option("=1").is_err());
    }

    #[test]
    fn another_driver_begins_anew_and_options_are_replaced_by_name() {
        let said = |driver: Option<&str>, options: &[&str]| Logging {
            log_driver: driver.map(str::to_owned),
            log_opt: options.iter().map(|text| option(text).unwrap()).collect(),
        };
        let mut logging = said(Some("json-file"), &["max-size=1m", "max-file=2"]).asked();
        said(None, &["max-file=5"]).change(&mut logging);
        let now = logging.clone().unwrap_or_default();
        assert_eq!(
            (now.driver.as_str(), now.options["max-size"].as_str(), now.options["max-file"].as_str()),
            ("json-file", "1m", "5")
        );
        said(Some("local"), &[]).change(&mut logging);
        assert!(logging.as_ref().is_some_and(|now| now.options.is_empty()));
        said(Some(""), &[]).change(&mut logging);
        assert_eq!((logging, said(None, &[]).asked()), (None, None));
    }
}
