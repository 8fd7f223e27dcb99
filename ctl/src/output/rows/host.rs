//! The objects of one host: containers, what they use, and images.

use std::time::Duration;

use proto::v1;
use serde::Serialize;

use super::{Row, bytes, ports, short, short_image};
use crate::output::time;

/// A container of this host.
#[derive(Debug, Serialize)]
pub struct ContainerRow {
    id: String,
    name: String,
    image: String,
    command: Vec<String>,
    state: String,
    exit_code: Option<i32>,
    error: String,
    restart: String,
    restart_count: u32,
    pid: u32,
    address: String,
    ports: String,
    task: String,
    created_at: String,
    #[serde(skip)]
    age: String,
}

impl From<&v1::Container> for ContainerRow {
    fn from(container: &v1::Container) -> Self {
        Self {
            id: container.id.clone(),
            name: container.name.clone(),
            image: short_image(&container.image),
            command: container.command.clone(),
            state: container.state.clone(),
            exit_code: container.exit_code,
            error: container.error.clone(),
            restart: container.restart.clone(),
            restart_count: container.restart_count,
            pid: container.pid,
            address: container.address.clone(),
            ports: ports(&container.ports),
            task: container.task_id.clone(),
            created_at: time::rfc3339(container.created_at_ms),
            age: time::age(container.created_at_ms, time::now_ms()),
        }
    }
}

impl Row for ContainerRow {
    fn headings() -> Vec<&'static str> {
        vec!["ID", "NAME", "IMAGE", "COMMAND", "STATE", "CREATED", "PORTS"]
    }
    fn cells(&self) -> Vec<String> {
        let state = match self.exit_code {
            Some(code) if ["exited", "restarting"].contains(&self.state.as_str()) => {
                format!("{} ({code})", self.state)
            }
            _ => self.state.clone(),
        };
        let command: String = self.command.join(" ").chars().take(40).collect();
        vec![
            short(&self.id),
            self.name.clone(),
            self.image.clone(),
            command,
            state,
            format!("{} ago", self.age),
            self.ports.clone(),
        ]
    }
}

/// What a container of this host uses.
#[derive(Debug, Serialize)]
pub struct UsageRow {
    id: String,
    name: String,
    cpu_seconds: f64,
    memory_bytes: u64,
    memory_limit_bytes: Option<u64>,
    pids: u64,
    pids_limit: Option<u64>,
}

impl From<&v1::ContainerUsageResponse> for UsageRow {
    fn from(usage: &v1::ContainerUsageResponse) -> Self {
        Self {
            id: usage.id.clone(),
            name: usage.name.clone(),
            cpu_seconds: Duration::from_nanos(usage.cpu_ns).as_secs_f64(),
            memory_bytes: usage.memory_bytes,
            memory_limit_bytes: usage.memory_limit_bytes,
            pids: usage.pids,
            pids_limit: usage.pids_limit,
        }
    }
}

impl Row for UsageRow {
    fn headings() -> Vec<&'static str> {
        vec!["ID", "NAME", "CPU TIME", "MEMORY", "PIDS"]
    }
    fn cells(&self) -> Vec<String> {
        let of = |used: String, limit: Option<String>| match limit {
            Some(limit) => format!("{used}/{limit}"),
            None => used,
        };
        vec![
            short(&self.id),
            self.name.clone(),
            format!("{:.2}s", self.cpu_seconds),
            of(bytes(self.memory_bytes), self.memory_limit_bytes.map(bytes)),
            of(self.pids.to_string(), self.pids_limit.map(|limit| limit.to_string())),
        ]
    }
}

/// An image of this host.
#[derive(Debug, Serialize)]
pub struct ImageRow {
    name: String,
    digest: String,
    size_bytes: u64,
    created_at: String,
}

impl From<&v1::Image> for ImageRow {
    fn from(image: &v1::Image) -> Self {
        Self {
            name: short_image(&image.name),
            digest: image.digest.clone(),
            size_bytes: image.size_bytes,
            created_at: time::rfc3339(image.created_at_ms),
        }
    }
}

impl Row for ImageRow {
    fn headings() -> Vec<&'static str> {
        vec!["NAME", "DIGEST", "SIZE"]
    }
    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.digest.chars().take(19).collect(), bytes(self.size_bytes)]
    }
}
