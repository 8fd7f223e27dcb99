//! A service: its specification, the revision its tasks get, and how far its last update is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{ids::ServiceId, object::TaskSpec, spec::ServiceSpec, time::Timestamp};

/// Where the last update of a service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// There was none.
    #[default]
    None,
    /// Tasks are being replaced.
    Updating,
    /// Every task is of the new revision and has been monitored.
    Completed,
    /// It stopped because a task failed; the message says which.
    Paused,
    /// Tasks are being replaced by the revision that ran before.
    RollingBack,
    /// Every task is of the revision that ran before.
    RolledBack,
}

impl UpdateState {
    /// Whether tasks are being replaced.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Updating | Self::RollingBack)
    }
}

/// Progress of the last update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateStatus {
    /// Where it is.
    pub state: UpdateState,
    /// Why it was paused or rolled back.
    pub message: String,
    /// When this update, or its rollback, began.
    pub started_at: Timestamp,
    /// The version of the State it began in; tasks made since then belong to it.
    pub started_in: u64,
    /// When it ended, well or not.
    pub completed_at: Option<Timestamp>,
}

/// What tasks of a service ran before its current revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its spec version, which its tasks carry.
    pub spec_version: u64,
    /// What its tasks run.
    pub template: Arc<TaskSpec>,
}

/// A service of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Grows with every write; an update states the version it read.
    pub version: u64,
    /// What was asked for. After a rollback, container and ports are those of the previous revision.
    pub spec: ServiceSpec,
    /// The revision new tasks get: the service's version when it was stated.
    pub spec_version: u64,
    /// What new tasks run: container and ports of `spec`, shared by all of them.
    pub template: Arc<TaskSpec>,
    /// Where a failing update returns to; kept, with its ports, until the update has completed.
    pub previous: Option<Revision>,
    /// The last update.
    pub update: UpdateStatus,
    /// W3C trace context of the last write by a person.
    pub trace: Option<Arc<str>>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}
