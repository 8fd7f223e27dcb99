//! A task: one container, once. It is never restarted and never changed; a new task takes its slot.
//!
//! `desired` is written by controllers only, `state` by the agent that owns the task only, and both only grow:
//! of two reports the larger state is the later one, whatever order they arrive in.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    command::TaskStatus,
    ids::{NodeId, ServiceId, TaskId},
    spec::{ContainerSpec, PublishedPort},
    time::Timestamp,
};

/// Where a task is in its life, as its agent last said. The gaps leave room for states to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u16)]
pub enum TaskState {
    /// Created.
    New = 0,
    /// Waits for a node that fits.
    #[default]
    Pending = 64,
    /// A node was chosen.
    Assigned = 192,
    /// The agent took it.
    Accepted = 256,
    /// Image pull, snapshot, network.
    Preparing = 320,
    /// Prepared; waits here until it is wanted running.
    Ready = 384,
    /// The container is being started.
    Starting = 448,
    /// The container runs.
    Running = 512,
    /// Exited by itself with code 0.
    Complete = 576,
    /// Stopped because it was no longer wanted.
    Shutdown = 640,
    /// Failed at or after starting.
    Failed = 704,
    /// Could not be prepared: bad image, port in use.
    Rejected = 768,
    /// Its node is gone for good.
    Orphaned = 832,
}

impl TaskState {
    /// Whether nothing more will happen to the task.
    #[must_use]
    pub fn is_finished(self) -> bool {
        self >= Self::Complete
    }

    /// Whether it ended without being asked to.
    #[must_use]
    pub fn ended_by_itself(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Rejected)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Orphaned => "orphaned",
        })
    }
}

/// What the controllers want of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u16)]
pub enum Desired {
    /// Be prepared, and wait.
    Ready = 384,
    /// Run.
    Running = 512,
    /// Stop; what is left of it may be kept as history.
    Shutdown = 640,
    /// Stop, and be forgotten.
    Remove = 800,
}

impl fmt::Display for Desired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Shutdown => "shutdown",
            Self::Remove => "remove",
        })
    }
}

/// What a task runs: the copy of its service's specification it was made from. Never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskSpec {
    /// The service's name, which outlives the service here.
    pub service_name: String,
    /// What runs.
    pub container: ContainerSpec,
    /// Ports published for it.
    pub ports: Vec<PublishedPort>,
}

/// One container, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Grows with every write.
    pub version: u64,
    /// Its service, which may be gone already.
    pub service: ServiceId,
    /// 1 to the service's replicas.
    pub slot: u32,
    /// Where it was placed.
    pub node: Option<NodeId>,
    /// The revision of the service it was made from.
    pub spec_version: u64,
    /// What it runs. A dump of the State holds each revision once.
    #[serde(skip)]
    pub spec: Arc<TaskSpec>,
    /// What is wanted of it.
    pub desired: Desired,
    /// Where it is.
    pub state: TaskState,
    /// When the controller heard of this state.
    pub since: Timestamp,
    /// What is happening, or why it waits.
    pub message: String,
    /// Why it failed or was rejected.
    pub error: String,
    /// Of its process; 128 + signal when it was killed.
    pub exit_code: Option<i32>,
    /// Of the container, once it has one.
    pub address: String,
    /// On its node, while it runs; 0 before.
    pub pid: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// The version of the State that made it. Orders tasks where clocks of leaders may not.
    pub made_in: u64,
    /// When the controller heard that it runs.
    pub running_since: Option<Timestamp>,
    /// How many tasks of this revision failed in this slot in a row before it; paces the restarts.
    pub failures: u32,
    /// W3C trace context of what caused it.
    pub trace: Option<Arc<str>>,
}

impl Task {
    /// Whether it is to run (now or when its turn comes) and has not ended.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.desired <= Desired::Running && !self.state.is_finished()
    }

    /// Whether its reservations count on its node.
    #[must_use]
    pub fn holds_resources(&self) -> bool {
        self.node.is_some() && !self.state.is_finished()
    }

    /// Whether it waits for the scheduler.
    #[must_use]
    pub fn is_unplaced(&self) -> bool {
        self.node.is_none() && self.is_wanted()
    }

    /// Whether a report says something about the task that is not known yet.
    #[must_use]
    pub fn is_news(&self, status: &TaskStatus) -> bool {
        // An agent cannot say that it is gone.
        if status.state != self.state || status.state == TaskState::Orphaned {
            return status.state > self.state && status.state < TaskState::Orphaned;
        }
        status.message != self.message
            || status.error != self.error
            || status.exit_code.is_some() && status.exit_code != self.exit_code
            || !status.address.is_empty() && status.address != self.address
            || status.pid != 0 && status.pid != self.pid
    }
}
