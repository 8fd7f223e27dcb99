//! What containers use, in columns as Docker's. Rates and parts are made here, of two answers of the agent.

use std::time::Duration;

use proto::v1::ContainerUsageResponse;
use serde::Serialize;

use super::{Row, bytes, short};

/// What a container of this host uses.
#[derive(Debug, Serialize)]
pub struct UsageRow {
    id: String,
    name: String,
    running: bool,
    cpu_percent: Option<f64>,
    cpu_seconds: f64,
    memory_bytes: u64,
    memory_limit_bytes: Option<u64>,
    memory_percent: Option<f64>,
    network_received_bytes: Option<u64>,
    network_sent_bytes: Option<u64>,
    block_read_bytes: Option<u64>,
    block_written_bytes: Option<u64>,
    pids: u64,
    pids_limit: Option<u64>,
    #[serde(skip)]
    host_memory_bytes: u64,
    #[serde(skip)]
    in_full: bool,
}

#[expect(clippy::cast_precision_loss, reason = "for people; sixteen digits are enough")]
fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64 * 100.0)
}

impl UsageRow {
    /// Of an answer and the one before; with `in_full` a table cuts nothing short.
    pub fn new(now: &ContainerUsageResponse, before: Option<&ContainerUsageResponse>, in_full: bool) -> Self {
        let is_later = |before: &&ContainerUsageResponse| before.at_ns > 0 && before.at_ns < now.at_ns;
        // Less than before: it was started anew in between.
        let rate = |before: &ContainerUsageResponse| {
            percent(now.cpu_ns.saturating_sub(before.cpu_ns), now.at_ns - before.at_ns)
        };
        let limit = now.memory_limit_bytes.unwrap_or(u64::MAX).min(now.host_memory_bytes);
        let running = now.at_ns > 0;
        Self {
            id: now.id.clone(),
            name: now.name.clone(),
            running,
            cpu_percent: before.filter(is_later).and_then(rate),
            cpu_seconds: Duration::from_nanos(now.cpu_ns).as_secs_f64(),
            memory_bytes: now.memory_bytes,
            memory_limit_bytes: now.memory_limit_bytes,
            memory_percent: percent(now.memory_bytes, limit).filter(|_| running),
            network_received_bytes: now.received_bytes,
            network_sent_bytes: now.sent_bytes,
            block_read_bytes: now.block_read_bytes,
            block_written_bytes: now.block_written_bytes,
            pids: now.pids,
            pids_limit: now.pids_limit,
            host_memory_bytes: limit,
            in_full,
        }
    }
}

impl Row for UsageRow {
    fn headings() -> Vec<&'static str> {
        vec!["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]
    }
    fn cells(&self) -> Vec<String> {
        let known = |text: Option<String>| text.filter(|_| self.running).unwrap_or_else(|| "--".to_owned());
        let part = |percent: Option<f64>| known(percent.map(|percent| format!("{percent:.2}%")));
        let pair = |one: Option<u64>, other: Option<u64>| {
            known(one.zip(other).map(|(one, other)| format!("{} / {}", bytes(one), bytes(other))))
        };
        vec![
            if self.in_full { self.id.clone() } else { short(&self.id) },
            self.name.clone(),
            part(self.cpu_percent),
            pair(Some(self.memory_bytes), Some(self.host_memory_bytes)),
            part(self.memory_percent),
            pair(self.network_received_bytes, self.network_sent_bytes),
            pair(self.block_read_bytes, self.block_written_bytes),
            known(Some(self.pids.to_string())),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(at_ns: u64, cpu_ns: u64) -> ContainerUsageResponse {
        ContainerUsageResponse {
            id: "0123456789abcdef".to_owned(),
            name: "web".to_owned(),
            at_ns,
            cpu_ns,
            memory_bytes: 1 << 20,
            host_memory_bytes: 4 << 20,
            received_bytes: Some(2048),
            sent_bytes: Some(0),
            pids: 3,
            ..Default::default()
        }
    }

    #[test]
    fn rates_are_made_of_two_answers_and_shown_in_dockers_columns() {
        let row = UsageRow::new(&answer(3_000, 5_500), Some(&answer(1_000, 2_500)), false);
        let cells = row.cells();
        let expected =
            ["0123456789ab", "web", "150.00%", "1.00 MiB / 4.00 MiB", "25.00%", "2.00 KiB / 0 B", "--", "3"];
        assert_eq!(cells, expected);
        assert_eq!(cells.len(), UsageRow::headings().len());
        let limited = ContainerUsageResponse { memory_limit_bytes: Some(2 << 20), ..answer(1, 1) };
        assert_eq!(
            UsageRow::new(&limited, None, true).cells()[2..5],
            ["--", "1.00 MiB / 2.00 MiB", "50.00%"]
        );
        let again = UsageRow::new(&answer(3_000, 5), Some(&answer(1_000, 2_500)), false);
        assert_eq!(again.cells()[2], "0.00%", "it was started anew");
    }

    #[test]
    fn what_does_not_run_uses_nothing() {
        let cells = UsageRow::new(&answer(0, 0), Some(&answer(1, 1)), false).cells();
        assert!(cells[2..].iter().all(|cell| cell == "--"), "{cells:?}");
    }
}
