//! The objects of one host beside containers: what these use, and images.

use std::time::Duration;

use proto::v1;
use serde::Serialize;

use super::{Row, bytes, short, short_image};
use crate::output::time;

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
