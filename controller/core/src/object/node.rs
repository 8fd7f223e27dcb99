//! A host of the cluster. What it is comes from its agent; whether it is up comes from its lease.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ids::NodeId, resources::Resources, time::Timestamp};

/// Whether tasks can be placed on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// Admitted, and not heard of since.
    #[default]
    Unknown,
    /// Its lease is kept.
    Ready,
    /// Its lease has ended; its tasks are replaced elsewhere.
    Down,
}

/// What an agent says of its host when it registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeDescription {
    /// host:port of the agent's Node API, as others reach it.
    pub address: String,
    /// For constraints.
    pub labels: BTreeMap<String, String>,
    /// What the host has. The sum of the reservations placed on it never exceeds this.
    pub capacity: Resources,
    /// Version of the agent program.
    pub agent_version: String,
    /// `linux`.
    pub os: String,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// Kernel release.
    pub kernel: String,
}

/// A host of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id, also in its certificate.
    pub id: NodeId,
    /// Grows with every write.
    pub version: u64,
    /// Unique in the cluster.
    pub name: String,
    /// Whether it is up.
    pub status: NodeStatus,
    /// Why, when it is not ready.
    pub status_message: String,
    /// Since when it has this status.
    pub status_since: Timestamp,
    /// As it last registered.
    pub description: NodeDescription,
    /// When it was admitted.
    pub joined_at: Timestamp,
}

impl Node {
    /// Whether tasks may be placed here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status == NodeStatus::Ready
    }
}
