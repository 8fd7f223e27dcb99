//! What one container of a service is made of. The controller carries it and schedules by its reservations;
//! the meaning of the rest is the agent's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::resources::Resources;
use crate::spec::Logging;

/// One container. Empty and zero mean "as the image says" or the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Image reference: `roadstead/hello`, `localhost:5000/web:1`, or with `@sha256:...`.
    pub image: String,
    /// Replaces the image's entrypoint.
    pub entrypoint: Vec<String>,
    /// Arguments; replaces the image's command.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// `uid`, `uid:gid` or a name of the image.
    pub user: String,
    /// Directory the program starts in.
    pub working_dir: String,
    /// Host name; empty means the task's short id.
    pub hostname: String,
    /// For people and tools.
    pub labels: BTreeMap<String, String>,
    /// Seconds between SIGTERM and SIGKILL; 0 means 10.
    pub stop_grace_seconds: u32,
    /// Enforced by the kernel.
    pub limits: Resources,
    /// Counted by the scheduler.
    pub reservations: Resources,
    /// `node.hostname==n1`, `node.labels.zone!=a`; see [`crate::spec::constraint`].
    pub placement_constraints: Vec<String>,
    /// What of its output is kept.
    pub logging: Logging,
}
