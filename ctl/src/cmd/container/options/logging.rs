//! What of a container's output is kept. Which drivers and options there are, the agent knows.

use std::collections::HashMap;

use proto::v1::{self, CreateContainerRequest};

use crate::error::CommandError;

/// Logs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Logs")]
pub(super) struct Logging {
    /// How its output is kept: local (the default), json-file as Docker does it, or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// An option of that: max-size, max-file, labels, labels-regex, env, env-regex, tag
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
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let options: HashMap<String, String> = self.log_opt.into_iter().collect();
        request.logging = match (self.log_driver, options.is_empty()) {
            (None, true) => None,
            (driver, _) => Some(v1::Logging { driver: driver.unwrap_or_default(), options }),
        };
        Ok(())
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
}
