//! Containers of one host, in columns as Docker's.

use std::collections::BTreeMap;

use proto::v1;
use serde::Serialize;
use serde_json::Value;

use super::named::listed;
use super::{Row, bytes, ports, short_image};
use crate::output::time;

/// Characters of a command that a table shows.
const COMMAND: usize = 30;

/// A container of this host.
#[derive(Debug, Serialize)]
pub struct ContainerRow {
    id: String,
    name: String,
    image: String,
    command: Vec<String>,
    state: String,
    status: String,
    health: String,
    exit_code: Option<i32>,
    error: String,
    restart: String,
    restart_count: u32,
    pid: u32,
    address: String,
    ports: String,
    labels: BTreeMap<String, String>,
    task: String,
    created_at: String,
    started_at: String,
    finished_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(skip)]
    mounts: Vec<String>,
    #[serde(skip)]
    age: String,
    #[serde(skip)]
    in_full: bool,
}

impl ContainerRow {
    /// A row; with `in_full` a table cuts nothing short.
    pub fn new(container: &v1::Container, in_full: bool) -> Self {
        let now_ms = time::now_ms();
        Self {
            id: container.id.clone(),
            name: container.name.clone(),
            image: short_image(&container.image),
            command: container.command.clone(),
            state: container.state.clone(),
            status: status(container, now_ms),
            health: container.health.clone(),
            exit_code: container.exit_code,
            error: container.error.clone(),
            restart: container.restart.clone(),
            restart_count: container.restart_count,
            pid: container.pid,
            address: container.address.clone(),
            ports: ports(&container.ports),
            labels: container.labels.clone().into_iter().collect(),
            task: container.task_id.clone(),
            created_at: time::rfc3339(container.created_at_ms),
            started_at: time::rfc3339(container.started_at_ms),
            finished_at: time::rfc3339(container.finished_at_ms),
            size_bytes: container.size_bytes,
            mounts: container.mounts.iter().map(|mount| mount.source.clone()).collect(),
            age: time::words(now_ms.saturating_sub(container.created_at_ms)),
            in_full,
        }
    }

    /// What Docker's `--format` has beside the columns: name, heading and value.
    pub(super) fn further_fields(&self) -> [(&'static str, &'static str, Value); 8] {
        let labels = serde_json::json!(self.labels);
        [
            ("CreatedAt", "CREATED AT", self.created_at.as_str().into()),
            ("State", "STATE", self.state.as_str().into()),
            ("Labels", "LABELS", listed(&labels).into()),
            ("Label", "LABEL", labels),
            ("Mounts", "MOUNTS", self.mounts.join(",").into()),
            ("Health", "HEALTH", self.health.as_str().into()),
            ("Task", "TASK", self.task.as_str().into()),
            ("Size", "SIZE", self.size_bytes.map(bytes).into()),
        ]
    }

    /// Its id, as long as the table shows it.
    pub fn id(&self) -> &str {
        let end = if self.in_full { self.id.len() } else { self.id.len().min(12) };
        self.id.get(..end).unwrap_or(&self.id)
    }
}

impl Row for ContainerRow {
    fn headings() -> Vec<&'static str> {
        vec!["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    }
    fn cells(&self) -> Vec<String> {
        let command = self.command.join(" ");
        let command = match command.char_indices().nth(COMMAND) {
            Some((at, _)) if !self.in_full => format!("{}\u{2026}", &command[..at]),
            _ => command,
        };
        vec![
            self.id().to_owned(),
            self.image.clone(),
            // A line break in it would be a line of its own.
            format!("\"{}\"", command.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")),
            format!("{} ago", self.age),
            self.status.clone(),
            if self.state == "running" || self.state == "paused" {
                self.ports.clone()
            } else {
                String::new()
            },
            self.name.clone(),
        ]
    }
}

/// A container with how much it has written.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct SizedContainerRow(pub ContainerRow);

impl Row for SizedContainerRow {
    fn headings() -> Vec<&'static str> {
        [ContainerRow::headings(), vec!["SIZE"]].concat()
    }
    fn cells(&self) -> Vec<String> {
        let size = self.0.size_bytes.map_or_else(|| "-".to_owned(), bytes);
        [self.0.cells(), vec![size]].concat()
    }
}

/// What Docker's lists say of a container's state.
fn status(container: &v1::Container, now_ms: u64) -> String {
    let since = |at_ms: u64| time::words(now_ms.saturating_sub(at_ms));
    let code = container.exit_code.map(|code| format!(" ({code})")).unwrap_or_default();
    let ended = |word: &str| match container.finished_at_ms {
        0 => format!("{word}{code}"),
        at_ms => format!("{word}{code} {} ago", since(at_ms)),
    };
    let up = format!("Up {}", since(container.started_at_ms));
    match (container.state.as_str(), container.health.as_str()) {
        ("running", "") => up,
        ("running", "starting") => format!("{up} (health: starting)"),
        ("running", health) => format!("{up} ({health})"),
        ("paused", _) => format!("{up} (Paused)"),
        ("exited", _) => ended("Exited"),
        ("restarting", _) => ended("Restarting"),
        ("created", _) => "Created".to_owned(),
        (other, _) => other.to_owned(),
    }
}

/// A process of a container.
#[derive(Debug, Serialize)]
pub struct ProcessRow {
    pid: i32,
    parent: i32,
    container_pid: i32,
    user: u32,
    state: String,
    started_at: String,
    cpu_seconds: f64,
    memory_bytes: u64,
    threads: u32,
    command: String,
}

impl From<&v1::Process> for ProcessRow {
    fn from(process: &v1::Process) -> Self {
        Self {
            pid: process.pid,
            parent: process.parent,
            container_pid: process.container_pid,
            user: process.user,
            state: process.state.clone(),
            started_at: time::rfc3339(process.started_at_ms),
            cpu_seconds: std::time::Duration::from_millis(process.cpu_ms).as_secs_f64(),
            memory_bytes: process.memory_bytes,
            threads: process.threads,
            command: process.command.clone(),
        }
    }
}

impl Row for ProcessRow {
    fn headings() -> Vec<&'static str> {
        vec!["USER", "PID", "PPID", "IN CONTAINER", "STATE", "CPU TIME", "MEMORY", "COMMAND"]
    }
    fn cells(&self) -> Vec<String> {
        vec![
            self.user.to_string(),
            self.pid.to_string(),
            self.parent.to_string(),
            self.container_pid.to_string(),
            self.state.clone(),
            format!("{:.2}s", self.cpu_seconds),
            bytes(self.memory_bytes),
            self.command.clone(),
        ]
    }
}

/// A port of the host that leads to a container.
#[derive(Debug, Serialize)]
pub struct PortRow {
    target: u32,
    protocol: &'static str,
    host_address: &'static str,
    published: u32,
}

impl From<&v1::PublishedPort> for PortRow {
    fn from(port: &v1::PublishedPort) -> Self {
        let protocol = if port.protocol() == v1::Protocol::Udp { "udp" } else { "tcp" };
        Self { target: port.target, protocol, host_address: "0.0.0.0", published: port.published }
    }
}

impl PortRow {
    /// The host's side: address and port.
    pub fn host(&self) -> String {
        format!("{}:{}", self.host_address, self.published)
    }
}

impl std::fmt::Display for PortRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} -> {}", self.target, self.protocol, self.host())
    }
}

/// Something that happened on a host.
#[derive(Debug, Serialize)]
pub struct EventRow {
    number: u64,
    time: String,
    #[serde(rename = "type")]
    subject: String,
    action: String,
    actor: String,
    attributes: BTreeMap<String, String>,
}

impl From<v1::Event> for EventRow {
    fn from(event: v1::Event) -> Self {
        let moment = jiff::Timestamp::from_nanosecond(event.at_ns.into()).unwrap_or_default();
        Self {
            number: event.number,
            // All with the same digits, so that lines sort.
            time: format!("{moment:.9}"),
            subject: event.r#type,
            action: event.action,
            actor: event.actor,
            attributes: event.attributes.into_iter().collect(),
        }
    }
}

impl std::fmt::Display for EventRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = |text: &str| text.escape_debug().to_string();
        let more = self.attributes.iter().map(|(key, value)| format!("{}={}", plain(key), plain(value)));
        let more = more.collect::<Vec<_>>().join(", ");
        write!(f, "{} {} {} {} ({more})", self.time, self.subject, plain(&self.action), plain(&self.actor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_in_dockers_words() {
        let told = |state: &str, health: &str, exit_code: Option<i32>| {
            let container = v1::Container {
                state: state.to_owned(),
                health: health.to_owned(),
                exit_code,
                started_at_ms: 1_000,
                finished_at_ms: 176_000,
                ..v1::Container::default()
            };
            status(&container, 181_000)
        };
        assert_eq!(told("running", "", None), "Up 3 minutes");
        assert_eq!(told("running", "healthy", None), "Up 3 minutes (healthy)");
        assert_eq!(told("running", "starting", None), "Up 3 minutes (health: starting)");
        assert_eq!(told("paused", "", None), "Up 3 minutes (Paused)");
        assert_eq!(told("exited", "", Some(1)), "Exited (1) 5 seconds ago");
        assert_eq!(told("restarting", "", Some(1)), "Restarting (1) 5 seconds ago");
        assert_eq!(told("created", "", None), "Created");
    }

    #[test]
    fn what_a_table_shows_of_a_command_is_one_short_line() {
        let command = vec!["sh".to_owned(), "-c".to_owned(), format!("echo \"a\"\n{}", "x".repeat(99))];
        let container = v1::Container { id: "f".repeat(64), command, ..v1::Container::default() };
        let cells = ContainerRow::new(&container, false).cells();
        assert_eq!((cells[0].len(), cells[2].lines().count()), (12, 1), "{cells:?}");
        assert!(cells[2].starts_with("\"sh -c echo \"a\"\\n") && cells[2].len() < 50, "{cells:?}");
        let in_full = ContainerRow::new(&container, true).cells();
        assert!(in_full[0].len() == 64 && in_full[2].len() > 100, "{in_full:?}");
    }
}
