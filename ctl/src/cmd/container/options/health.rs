//! How it is found out whether a container does its work.

use std::time::Duration;

use proto::v1::{CreateContainerRequest, HealthCheck};

use super::notation;
use crate::error::CommandError;

/// Health checks.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Health")]
pub(super) struct Health {
    /// Check its health with this line of shell
    #[arg(long, value_name = "LINE", conflicts_with = "no_healthcheck")]
    health_cmd: Option<String>,
    /// Between two checks (default 30s)
    #[arg(long, value_name = "TIME", value_parser = notation::duration)]
    health_interval: Option<Duration>,
    /// When a check that has not ended has failed (default 30s)
    #[arg(long, value_name = "TIME", value_parser = notation::duration)]
    health_timeout: Option<Duration>,
    /// So many failures in a row make it unhealthy (default 3)
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// How long after its start failures do not count (default 0s)
    #[arg(long, value_name = "TIME", value_parser = notation::duration)]
    health_start_period: Option<Duration>,
    /// Between two checks within the start period (default 5s)
    #[arg(long, value_name = "TIME", value_parser = notation::duration)]
    health_start_interval: Option<Duration>,
    /// Do not check its health, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
    /// End it when it is unhealthy, and let --restart bring it back
    #[arg(long, conflicts_with = "no_healthcheck")]
    restart_unhealthy: bool,
}

impl Health {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let time =
            |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let test = match (self.no_healthcheck, self.health_cmd) {
            (true, _) => vec!["NONE".to_owned()],
            (false, Some(line)) => vec!["CMD-SHELL".to_owned(), line],
            (false, None) => Vec::new(),
        };
        let health = HealthCheck {
            test,
            interval_ms: time(self.health_interval),
            timeout_ms: time(self.health_timeout),
            retries: self.health_retries,
            start_period_ms: time(self.health_start_period),
            start_interval_ms: time(self.health_start_interval),
            restart_unhealthy: self.restart_unhealthy,
        };
        request.health = (health != HealthCheck::default()).then_some(health);
        Ok(())
    }
}
