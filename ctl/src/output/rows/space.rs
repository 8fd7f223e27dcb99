//! What takes of the disk, as `ctl` prints it.

use proto::v1;
use serde::Serialize;
use serde_json::Value;

use crate::output::shape::Named;

use super::{Row, bytes, short, short_digest, short_image};

/// One kind of objects.
#[derive(Debug, Serialize)]
pub struct SpaceRow {
    kind: &'static str,
    total: usize,
    active: usize,
    size_bytes: u64,
    reclaimable_bytes: u64,
}

impl SpaceRow {
    /// Images, containers, volumes.
    pub fn all(usage: &v1::DiskUsageResponse) -> Vec<Self> {
        let runs = |state: &str| matches!(state, "running" | "paused" | "restarting");
        let containers = &usage.containers;
        let volumes = &usage.volumes;
        vec![
            Self {
                kind: "images",
                total: usage.images.len(),
                active: usage.images.iter().filter(|image| image.containers > 0).count(),
                size_bytes: usage.image_bytes.saturating_add(usage.garbage_bytes),
                reclaimable_bytes: usage.image_unused_bytes.saturating_add(usage.garbage_bytes),
            },
            Self {
                kind: "containers",
                total: containers.len(),
                active: containers.iter().filter(|one| runs(&one.state)).count(),
                size_bytes: containers.iter().map(|one| one.bytes).sum(),
                reclaimable_bytes: containers
                    .iter()
                    .filter(|one| !runs(&one.state))
                    .map(|one| one.bytes)
                    .sum(),
            },
            Self {
                kind: "volumes",
                total: volumes.len(),
                active: volumes.iter().filter(|volume| volume.containers > 0).count(),
                size_bytes: volumes.iter().map(|volume| volume.bytes).sum(),
                reclaimable_bytes: volumes
                    .iter()
                    .filter(|volume| volume.containers == 0)
                    .map(|volume| volume.bytes)
                    .sum(),
            },
        ]
    }
}

impl Row for SpaceRow {
    fn headings() -> Vec<&'static str> {
        vec!["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    }
    fn cells(&self) -> Vec<String> {
        let share = match self.size_bytes {
            0 => String::new(),
            size => format!(" ({}%)", self.reclaimable_bytes.saturating_mul(100) / size),
        };
        vec![
            self.kind.to_owned(),
            self.total.to_string(),
            self.active.to_string(),
            bytes(self.size_bytes),
            format!("{}{share}", bytes(self.reclaimable_bytes)),
        ]
    }
}

impl Named for SpaceRow {
    fn fields(&self) -> Vec<(&'static str, &'static str, Value)> {
        vec![
            ("Type", "TYPE", self.kind.into()),
            ("TotalCount", "TOTAL", self.total.into()),
            ("Active", "ACTIVE", self.active.into()),
            ("Size", "SIZE", bytes(self.size_bytes).into()),
            ("Reclaimable", "RECLAIMABLE", bytes(self.reclaimable_bytes).into()),
        ]
    }
}

/// An image.
#[derive(Debug, Serialize)]
pub struct ImageSpaceRow {
    names: Vec<String>,
    id: String,
    size_bytes: u64,
    shared_bytes: u64,
    containers: u32,
}

impl From<&v1::ImageUsage> for ImageSpaceRow {
    fn from(usage: &v1::ImageUsage) -> Self {
        let image = usage.image.clone().unwrap_or_default();
        Self {
            names: image.names.iter().map(|name| short_image(name)).collect(),
            id: image.id,
            size_bytes: usage.bytes,
            shared_bytes: usage.shared_bytes,
            containers: usage.containers,
        }
    }
}

impl Row for ImageSpaceRow {
    fn headings() -> Vec<&'static str> {
        vec!["IMAGE", "ID", "SIZE", "SHARED", "UNIQUE", "CONTAINERS"]
    }
    fn cells(&self) -> Vec<String> {
        vec![
            if self.names.is_empty() { "<none>".to_owned() } else { self.names.join(", ") },
            short_digest(&self.id),
            bytes(self.size_bytes),
            bytes(self.shared_bytes),
            bytes(self.size_bytes.saturating_sub(self.shared_bytes)),
            self.containers.to_string(),
        ]
    }
}

/// A container.
#[derive(Debug, Serialize)]
pub struct ContainerSpaceRow {
    id: String,
    name: String,
    image: String,
    state: String,
    size_bytes: u64,
}

impl From<&v1::ContainerDiskUsage> for ContainerSpaceRow {
    fn from(usage: &v1::ContainerDiskUsage) -> Self {
        Self {
            id: usage.id.clone(),
            name: usage.name.clone(),
            image: short_image(&usage.image),
            state: usage.state.clone(),
            size_bytes: usage.bytes,
        }
    }
}

impl Row for ContainerSpaceRow {
    fn headings() -> Vec<&'static str> {
        vec!["CONTAINER", "NAME", "IMAGE", "STATE", "SIZE"]
    }
    fn cells(&self) -> Vec<String> {
        vec![
            short(&self.id),
            self.name.clone(),
            self.image.clone(),
            self.state.clone(),
            bytes(self.size_bytes),
        ]
    }
}

/// A volume.
#[derive(Debug, Serialize)]
pub struct VolumeSpaceRow {
    name: String,
    containers: u32,
    size_bytes: u64,
}

impl From<&v1::VolumeUsage> for VolumeSpaceRow {
    fn from(usage: &v1::VolumeUsage) -> Self {
        Self { name: usage.name.clone(), containers: usage.containers, size_bytes: usage.bytes }
    }
}

impl Row for VolumeSpaceRow {
    fn headings() -> Vec<&'static str> {
        vec!["VOLUME", "CONTAINERS", "SIZE"]
    }
    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.containers.to_string(), bytes(self.size_bytes)]
    }
}
