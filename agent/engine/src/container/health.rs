//! Whether a container does its work: what is asked for, and what the results of its checks make of it. A pure
//! state machine with Docker's meanings; `container/probe.rs` runs the checks.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::EngineError;

/// So many results are kept.
pub const MAX_RESULTS: usize = 5;
/// So much of a check's output is kept, in bytes.
pub const MAX_OUTPUT: usize = 4096;
/// The shortest interval, period or timeout that makes sense, as in Docker.
const SHORTEST: Duration = Duration::from_millis(1);

/// A health check as somebody asks for it; what is `None` or empty is the image's, else Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", program, argument...]` or `["CMD-SHELL", line]`.
    pub test: Vec<String>,
    /// Between the end of one check and the beginning of the next; 30 s.
    pub interval: Option<Duration>,
    /// When a check has failed that has not ended; 30 s.
    pub timeout: Option<Duration>,
    /// So many failures in a row make it unhealthy; 3.
    pub retries: Option<u32>,
    /// How long after its start failures do not count; 0.
    pub start_period: Option<Duration>,
    /// The interval within the start period; 5 s.
    pub start_interval: Option<Duration>,
    /// An unhealthy container is ended, and its restart policy decides what follows.
    pub restart_unhealthy: bool,
}

/// A health check with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) command: Vec<String>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) start_period: Duration,
    pub(crate) start_interval: Duration,
}

impl Healthcheck {
    /// What is asked for here, over what the image has.
    pub(crate) fn over(self, image: &Healthcheck) -> Healthcheck {
        let test = if self.test.is_empty() { image.test.clone() } else { self.test };
        Healthcheck {
            test,
            interval: self.interval.or(image.interval),
            timeout: self.timeout.or(image.timeout),
            retries: self.retries.or(image.retries),
            start_period: self.start_period.or(image.start_period),
            start_interval: self.start_interval.or(image.start_interval),
            restart_unhealthy: self.restart_unhealthy,
        }
    }

    /// The check to be made; `None` when there is none.
    pub(crate) fn check(&self) -> Option<Check> {
        let command = match self.test.split_first() {
            None => return None,
            Some((kind, rest)) => match kind.as_str() {
                "CMD" => rest.to_vec(),
                "CMD-SHELL" => {
                    ["/bin/sh", "-c"].map(str::to_owned).into_iter().chain(rest.to_vec()).collect()
                }
                _ => return None,
            },
        };
        let given = |value: Option<Duration>, default: u64| {
            value.filter(|value| !value.is_zero()).unwrap_or(Duration::from_secs(default))
        };
        Some(Check {
            command,
            interval: given(self.interval, 30),
            timeout: given(self.timeout, 30),
            retries: self.retries.filter(|retries| *retries > 0).unwrap_or(3),
            start_period: self.start_period.unwrap_or_default(),
            start_interval: given(self.start_interval, 5),
        })
    }

    /// Refuses what cannot be meant.
    pub(crate) fn validate(&self) -> Result<(), EngineError> {
        let invalid = |rule: String| Err(EngineError::invalid("health check", rule));
        match self.test.split_first() {
            None => {}
            Some((kind, rest)) => match (kind.as_str(), rest.len()) {
                ("NONE", 0) | ("CMD", 1..) | ("CMD-SHELL", 1) => {}
                _ => {
                    return invalid(format!("{:?} is not NONE, CMD PROGRAM... or CMD-SHELL LINE", self.test));
                }
            },
        }
        for (name, value) in [
            ("interval", self.interval),
            ("timeout", self.timeout),
            ("start period", self.start_period),
            ("start interval", self.start_interval),
        ] {
            if value.is_some_and(|value| !value.is_zero() && value < SHORTEST) {
                return invalid(format!("{name}: at least one millisecond, or 0 for the default"));
            }
        }
        if self.restart_unhealthy && self.check().is_none() {
            return invalid(
                "without a check nothing is found unhealthy, so nothing can be restarted".to_owned(),
            );
        }
        Ok(())
    }
}

/// What is thought of a container's health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not known yet.
    #[default]
    Starting,
    /// Its last check succeeded.
    Healthy,
    /// As many checks failed in a row as were to be borne.
    Unhealthy,
}

impl std::fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        })
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
    /// Milliseconds since 1970.
    pub ended_at_ms: u64,
    /// 0 is good; -1 when the check could not be made or took too long.
    pub exit_code: i32,
    /// The beginning of what it printed, at most [`MAX_OUTPUT`] bytes.
    pub output: String,
}

/// A container's health, since its last start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is thought of it.
    pub status: HealthStatus,
    /// Failures in a row that count.
    pub failing_streak: u32,
    /// The last results, oldest first, at most [`MAX_RESULTS`].
    pub log: VecDeque<HealthResult>,
}

impl Health {
    /// Takes a result in, of a check that began `age` after the container's start; answers whether the status changed.
    pub(crate) fn take(&mut self, result: HealthResult, age: Duration, check: &Check) -> bool {
        let before = self.status;
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if !(self.status == HealthStatus::Starting && age < check.start_period) {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= check.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push_back(result);
        while self.log.len() > MAX_RESULTS {
            self.log.pop_front();
        }
        self.status != before
    }

    /// How long to wait for the next check, `age` after the container's start.
    pub(crate) fn pause(&self, age: Duration, check: &Check) -> Duration {
        let is_starting = self.status == HealthStatus::Starting && age < check.start_period;
        if is_starting { check.start_interval } else { check.interval }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(retries: u32, start_period: u64) -> Check {
        let asked = Healthcheck {
            test: vec!["CMD".into(), "true".into()],
            retries: Some(retries),
            start_period: Some(Duration::from_secs(start_period)),
            ..Healthcheck::default()
        };
        asked.check().unwrap()
    }

    fn result(exit_code: i32) -> HealthResult {
        HealthResult { started_at_ms: 0, ended_at_ms: 0, exit_code, output: String::new() }
    }

    proptest! {
        #[test]
        fn the_status_is_what_the_last_results_say(
            codes in proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(-1)], 1..40),
            retries in 1_u32..5,
            start_period in 0_u64..20,
        ) {
            let check = check(retries, start_period);
            let mut health = Health::default();
            let mut changes = 0;
            for (second, code) in codes.iter().enumerate() {
                changes += u32::from(health.take(result(*code), Duration::from_secs(second as u64), &check));
                prop_assert!(health.log.len() <= MAX_RESULTS);
            }
            let first_success = codes.iter().position(|code| *code == 0);
            // What fails within the start period counts only after a success.
            let counts = |at: usize| {
                at as u64 >= start_period || first_success.is_some_and(|success| success < at)
            };
            let streak = codes.iter().enumerate().rev().take_while(|(_, code)| **code != 0);
            let streak = streak.filter(|(at, _)| counts(*at)).count();
            prop_assert_eq!(health.failing_streak as usize, streak);
            let expected = match (streak >= retries as usize, first_success) {
                (true, _) => HealthStatus::Unhealthy,
                // Fewer failures than it takes to change what was thought before.
                (false, Some(_)) => HealthStatus::Healthy,
                (false, None) => HealthStatus::Starting,
            };
            prop_assert_eq!(health.status, expected);
            prop_assert!(changes > 0 || health.status == HealthStatus::Starting);
        }
    }

    #[test]
    fn what_is_left_open_is_the_images_and_then_dockers() {
        let image = Healthcheck {
            test: vec!["CMD-SHELL".into(), "curl localhost".into()],
            retries: Some(7),
            ..Healthcheck::default()
        };
        let asked = Healthcheck { interval: Some(Duration::from_secs(1)), ..Healthcheck::default() };
        let check = asked.over(&image).check().unwrap();
        assert_eq!(check.command, ["/bin/sh", "-c", "curl localhost"]);
        assert_eq!((check.retries, check.interval.as_secs(), check.timeout.as_secs()), (7, 1, 30));
        let none = Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() };
        assert_eq!(none.over(&image).check(), None);
        assert_eq!(Healthcheck::default().check(), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let test = |words: &[&str]| Healthcheck {
            test: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Healthcheck::default()
        };
        for bad in [&["CMD"][..], &["NONE", "x"], &["CMD-SHELL"], &["CMD-SHELL", "a", "b"], &["true"]] {
            assert!(test(bad).validate().is_err(), "{bad:?}");
        }
        assert!(test(&["CMD", "true"]).validate().is_ok());
        let nothing = Healthcheck { restart_unhealthy: true, ..Healthcheck::default() };
        assert!(nothing.validate().is_err());
    }
}
