//! What of a container's output is kept: Docker's log drivers and their options, turned into what the keeper does.
//! Pure. Options that are taken mean what they mean in Docker; the others are refused with the reason.

use std::collections::BTreeMap;

use agent_runtime::container::{LogDriver, LogPolicy};
use agent_runtime::log::Layout;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::ContainerConfig;
use super::record::Record;
use crate::EngineError;

/// A rotated file is renamed with each rotation, so there is a limit to their number.
const MOST_FILES: u32 = 1_000;
/// A file of less would be rotated with nearly each line, in bytes.
const LEAST_BYTES: u64 = 1_000;
/// Labels, variables and tag together, in bytes: they stand in each record.
const MOST_ATTRIBUTES: usize = 16 * 1024;

const COMMON: &str = "max-size, max-file, compress, labels, labels-regex, env, env-regex, tag and mode";

/// What is asked for of a container's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// In which form it is kept.
    pub driver: LogDriver,
    /// Docker's options, by name.
    pub options: BTreeMap<String, String>,
}

impl Logging {
    /// Of a driver's name, where none is the default, and its options.
    ///
    /// # Errors
    /// When there is no such driver here. Options are judged when the container is made.
    pub fn new(driver: &str, options: BTreeMap<String, String>) -> Result<Logging, EngineError> {
        let driver = match driver {
            "" | "local" => LogDriver::Local,
            "json-file" => LogDriver::JsonFile,
            "none" => LogDriver::None,
            "awslogs" | "etwlogs" | "fluentd" | "gcplogs" | "gelf" | "journald" | "logentries" | "splunk"
            | "syslog" => {
                let rule = format!(
                    "{driver} is not taken: logs are kept in files of the host, from where a collector reads them; use json-file, \
                     whose files every collector knows, or local or none"
                );
                return Err(EngineError::invalid("log driver", rule));
            }
            _ => {
                let rule = format!("there is no {driver:?}; there are local, json-file and none");
                return Err(EngineError::invalid("log driver", rule));
            }
        };
        Ok(Logging { driver, options })
    }

    fn sizes(&self) -> Result<LogPolicy, EngineError> {
        let mut policy = LogPolicy { driver: self.driver, ..LogPolicy::default() };
        if let (LogDriver::None, Some(option)) = (self.driver, self.options.keys().next()) {
            return refuse(option, "the driver none keeps nothing, so it has no options");
        }
        for (option, value) in &self.options {
            match option.as_str() {
                "max-size" => policy.max_bytes = size(value)?,
                "max-file" => policy.max_files = files(value)?,
                "mode" => mode(value)?,
                "compress" => policy.compress = compress(value)?,
                "max-buffer-size" => {
                    return refuse(option, "there is no buffer: the keeper writes what it has read at once");
                }
                "labels" | "labels-regex" | "env" | "env-regex" | "tag" => {}
                _ => return refuse(option, format!("there is no such option; there are {COMMON}")),
            }
        }
        if policy.compress && policy.max_files < 2 {
            return refuse("compress", "with max-file=1 no file is ever rotated; give it 2 or more");
        }
        Ok(policy)
    }
}

/// The layout of a log whose old files are to be compressed, and how many files it has at most.
pub(crate) fn compressed(config: &ContainerConfig) -> Option<(Layout, u32)> {
    let policy = config.log.as_ref()?.sizes().ok().filter(|policy| policy.compress)?;
    Some((Layout::of(policy.driver)?, policy.max_files))
}

/// What the keeper is told to do.
///
/// # Errors
/// The first option that makes no sense.
pub(crate) fn policy(record: &Record) -> Result<LogPolicy, EngineError> {
    let logging = record.config.log.clone().unwrap_or_default();
    let mut policy = logging.sizes()?;
    let mut attributes = BTreeMap::new();
    let labels = record.config.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    select(&mut attributes, &logging, ["labels", "labels-regex"], labels)?;
    let variables = record.env.iter().filter_map(|entry| entry.split_once('='));
    select(&mut attributes, &logging, ["env", "env-regex"], variables)?;
    if let Some(template) = logging.options.get("tag").filter(|template| !template.is_empty()) {
        attributes.insert("tag".to_owned(), tag(template, record)?);
    }
    let size: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MOST_ATTRIBUTES {
        let rule = format!(
            "the labels and variables that are to stand in each record have {size} bytes, at most {MOST_ATTRIBUTES} fit"
        );
        return Err(EngineError::invalid("log options", rule));
    }
    policy.attributes = attributes;
    Ok(policy)
}

/// The layout of a container's log; `None` when it keeps none.
pub(crate) fn layout(config: &ContainerConfig) -> Option<Layout> {
    Layout::of(config.log.as_ref().map(|log| log.driver).unwrap_or_default())
}

fn refuse<T>(option: &str, why: impl std::fmt::Display) -> Result<T, EngineError> {
    Err(EngineError::invalid("log option", format!("{option}: {why}")))
}

/// Those that are named in the list, or fit the expression.
fn select<'a>(
    chosen: &mut BTreeMap<String, String>,
    logging: &Logging,
    [list, expression]: [&str; 2],
    all: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), EngineError> {
    let names: Vec<&str> =
        logging.options.get(list).map(|list| list.split(',').collect()).unwrap_or_default();
    let fits = match logging.options.get(expression).filter(|text| !text.is_empty()) {
        Some(text) => Some(Regex::new(text).or_else(|error| refuse(expression, error))?),
        None => None,
    };
    for (key, value) in all {
        if names.contains(&key) || fits.as_ref().is_some_and(|fits| fits.is_match(key)) {
            chosen.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(())
}

/// A number with a unit of thousands, as in Docker; `ki`, `mi` and `gi` are units of 1024.
fn size(text: &str) -> Result<u64, EngineError> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let scale = match unit.trim().trim_end_matches('b') {
        "" => Some(1_u64),
        "k" => Some(1_000),
        "m" => Some(1_000_000),
        "g" => Some(1_000_000_000),
        "ki" => Some(1 << 10),
        "mi" => Some(1 << 20),
        "gi" => Some(1 << 30),
        _ => None,
    };
    let whole = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    match whole {
        Some(bytes) if bytes >= LEAST_BYTES => Ok(bytes),
        Some(bytes) => {
            refuse("max-size", format!("{bytes} bytes are too few, at least {LEAST_BYTES} are needed"))
        }
        None => refuse(
            "max-size",
            format!("{text:?} is no size; write for example 10m, which are ten million bytes"),
        ),
    }
}

fn files(text: &str) -> Result<u32, EngineError> {
    match text.parse() {
        Ok(files) if (1..=MOST_FILES).contains(&files) => Ok(files),
        _ => {
            refuse("max-file", format!("{text:?} is no number of files; from 1 to {MOST_FILES} are possible"))
        }
    }
}

fn mode(text: &str) -> Result<(), EngineError> {
    match text {
        "blocking" => Ok(()),
        "non-blocking" => refuse(
            "mode",
            "non-blocking is not taken: it would lose lines to spare the container a slow network, and logs are files of this host",
        ),
        _ => refuse("mode", format!("{text:?} is no mode; there is blocking")),
    }
}

fn compress(text: &str) -> Result<bool, EngineError> {
    match text {
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        _ => refuse("compress", format!("{text:?} is neither true nor false")),
    }
}

/// Docker's template of a tag.
fn tag(template: &str, record: &Record) -> Result<String, EngineError> {
    let digest = record.image_digest.split_once(':').map_or(record.image_digest.as_str(), |(_, hex)| hex);
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        let Some((name, behind)) = behind.split_once("}}") else {
            return refuse("tag", format!("{template:?} has a {{{{ without }}}}"));
        };
        text.push_str(before);
        let value = match name.trim() {
            ".ID" => record.short_id(),
            ".FullID" => record.id.clone(),
            ".Name" => record.name.clone(),
            ".ImageID" => digest.chars().take(12).collect(),
            ".ImageFullID" => record.image_digest.clone(),
            ".ImageName" => record.config.image.clone(),
            ".Command" => record.command.join(" "),
            ".DaemonName" => "roadstead".to_owned(),
            other => {
                let why = format!(
                    "{other:?} is not known; there are .ID, .FullID, .Name, .ImageID, .ImageFullID, .ImageName, .Command and .DaemonName"
                );
                return refuse("tag", why);
            }
        };
        text.push_str(&value);
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logging(driver: &str, options: &[(&str, &str)]) -> Result<LogPolicy, String> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let logging = Logging::new(driver, options.collect()).map_err(|error| error.to_string())?;
        logging.sizes().map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_are_dockers_and_the_default_is_rotated() {
        let default = logging("", &[]).unwrap();
        assert_eq!((default.driver, default.max_bytes, default.max_files), (LogDriver::Local, 10 << 20, 3));
        let given =
            logging("json-file", &[("max-size", "10m"), ("max-file", "5"), ("mode", "blocking")]).unwrap();
        assert_eq!((given.driver, given.max_bytes, given.max_files), (LogDriver::JsonFile, 10_000_000, 5));
        assert_eq!(logging("local", &[("max-size", "4KiB")]).unwrap().max_bytes, 4096);
        for bad in ["", "m", "10x", "-1", "0", "999", "1.5m", "99999999999g"] {
            assert!(logging("local", &[("max-size", bad)]).unwrap_err().contains("max-size"), "{bad}");
        }
        for bad in ["0", "-1", "1001", "many"] {
            assert!(logging("local", &[("max-file", bad)]).unwrap_err().contains("max-file"), "{bad}");
        }
    }

    #[test]
    fn what_is_not_taken_says_why() {
        for (driver, option, reason) in [
            ("journald", ("", ""), "json-file"),
            ("jsonfile", ("", ""), "local, json-file and none"),
            ("none", ("max-size", "1m"), "keeps nothing"),
            ("local", ("compress", "maybe"), "neither true nor false"),
            ("local", ("mode", "non-blocking"), "non-blocking"),
            ("json-file", ("max-buffer-size", "1m"), "no buffer"),
            ("json-file", ("syslog-address", "x"), "no such option"),
        ] {
            let options = if option.0.is_empty() { Vec::new() } else { vec![option] };
            let refused = logging(driver, &options).unwrap_err();
            assert!(refused.contains(reason), "{driver} {option:?}: {refused}");
        }
        assert!(logging("none", &[]).is_ok() && logging("json-file", &[("compress", "false")]).is_ok());
        assert!(logging("local", &[("compress", "true")]).unwrap().compress);
        let alone = logging("json-file", &[("compress", "true"), ("max-file", "1")]).unwrap_err();
        assert!(alone.contains("max-file=1"), "{alone}");
    }

    #[test]
    fn labels_and_variables_are_chosen_by_name_or_expression() {
        let mut chosen = BTreeMap::new();
        let options = [("labels".to_owned(), "a,c".to_owned()), ("labels-regex".to_owned(), "^x".to_owned())];
        let logging = Logging { driver: LogDriver::Local, options: options.into() };
        let all = [("a", "1"), ("b", "2"), ("x1", "3"), ("ax", "4")];
        select(&mut chosen, &logging, ["labels", "labels-regex"], all.into_iter()).unwrap();
        assert_eq!(chosen.keys().collect::<Vec<_>>(), ["a", "x1"]);
        let bad =
            Logging { options: [("env-regex".to_owned(), "(".to_owned())].into(), ..Logging::default() };
        assert!(select(&mut chosen, &bad, ["env", "env-regex"], all.into_iter()).is_err());
    }

    #[test]
    fn containers_made_before_there_were_drivers_have_the_default() {
        let config: ContainerConfig = serde_json::from_str(r#"{"image":"a","log":null}"#).unwrap();
        assert_eq!(layout(&config), Some(Layout::Compact));
        let config: ContainerConfig =
            serde_json::from_str(r#"{"image":"a","log":{"max_bytes":1,"max_files":2}}"#).unwrap();
        assert_eq!(config.log, Some(Logging::default()));
    }
}
