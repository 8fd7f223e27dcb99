//! Health checks as the wire has them.

use std::time::Duration;

use agent_engine::container::health::Healthcheck;
use proto::v1;

/// What is asked for.
pub fn asked(check: v1::HealthCheck) -> Healthcheck {
    let time = |milliseconds: Option<u64>| milliseconds.map(Duration::from_millis);
    Healthcheck {
        test: check.test,
        interval: time(check.interval_ms),
        timeout: time(check.timeout_ms),
        retries: check.retries,
        start_period: time(check.start_period_ms),
        start_interval: time(check.start_interval_ms),
        restart_unhealthy: check.restart_unhealthy,
    }
}
