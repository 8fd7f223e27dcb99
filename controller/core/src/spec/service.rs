//! The specification of a service: how many of which container, published where, updated how.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::spec::ContainerSpec;

/// Transport of a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The default.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the containers, published on the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Transport; a number may be published once per transport.
    #[serde(default)]
    pub protocol: Protocol,
    /// 1 to 65535, on the node.
    pub published: u16,
    /// 1 to 65535, in the container.
    pub target: u16,
}

/// What happens when a task of an update fails while it is monitored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureAction {
    /// Return to the revision that ran before.
    #[default]
    Rollback,
    /// Stop where it is.
    Pause,
}

/// How an update replaces the tasks of a service. Zeros mean the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdatePolicy {
    /// Slots replaced at a time; 0 means 1.
    pub parallelism: u32,
    /// A new task that fails within this time fails the update; 0 means 5.
    pub monitor_seconds: u32,
    /// What to do then.
    pub failure_action: FailureAction,
}

impl UpdatePolicy {
    /// Slots replaced at a time, at least 1.
    #[must_use]
    pub fn parallelism(&self) -> usize {
        usize::try_from(self.parallelism.max(1)).unwrap_or(usize::MAX)
    }

    /// How long a new task is watched after it began to run.
    #[must_use]
    pub fn monitor(&self) -> Duration {
        Duration::from_secs(u64::from(if self.monitor_seconds == 0 { 5 } else { self.monitor_seconds }))
    }
}

/// A service, as a person states it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceSpec {
    /// A DNS label; unique among the services of the cluster, and never changed.
    pub name: String,
    /// For people and tools.
    pub labels: BTreeMap<String, String>,
    /// Tasks wanted running, in slots 1 to this.
    pub replicas: u32,
    /// What each of them runs.
    pub container: ContainerSpec,
    /// Ports published on every node that runs one; unique among services per protocol.
    pub ports: Vec<PublishedPort>,
    /// How changes of the container are rolled out.
    pub update: UpdatePolicy,
}
