//! Everything that can be asked of the State: one closed enum, one log entry each.
//!
//! A command carries every moment and every id it needs. The log stores commands as JSON, so new fields must
//! come with a default.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ClusterId, NodeId, ServiceId, TaskId},
    object::{Desired, NodeDescription, NodeStatus, Role, TaskState},
    spec::ServiceSpec,
    time::Timestamp,
};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Makes the cluster; the first command of a log.
    Bootstrap {
        /// Its id.
        cluster_id: ClusterId,
        /// Root certificate, DER.
        root_der: Vec<u8>,
        /// Now.
        at: Timestamp,
    },
    /// Makes a join token known. Forgets those that expired before `at`.
    CreateToken {
        /// Of its secret.
        hash: String,
        /// What it lets its holder become.
        role: Role,
        /// From when on it is refused.
        expires: Timestamp,
        /// Now.
        at: Timestamp,
    },
    /// Lets a node in on the strength of a token. Answers [`crate::Event::NodeAdmitted`] with the name it got.
    AdmitNode {
        /// Its new id.
        id: NodeId,
        /// Wished for; made unique if taken.
        name: String,
        /// Hash of the token's secret.
        token_hash: String,
        /// Now.
        at: Timestamp,
    },
    /// An admitted node says what it is, and is ready from now on.
    RegisterNode {
        /// The node.
        id: NodeId,
        /// What it is.
        description: NodeDescription,
        /// Now.
        at: Timestamp,
    },
    /// Creates a service. Refused when its name or a published port is taken.
    CreateService {
        /// Its new id.
        id: ServiceId,
        /// What is asked for.
        spec: ServiceSpec,
        /// W3C trace context.
        #[serde(default)]
        trace: Option<String>,
        /// Now.
        at: Timestamp,
    },
    /// Replaces the specification of a service. A changed container or port starts a rolling update.
    UpdateService {
        /// The service.
        id: ServiceId,
        /// The version that was read; refused when it is no longer the current one.
        version: u64,
        /// What is asked for now.
        spec: ServiceSpec,
        /// W3C trace context.
        #[serde(default)]
        trace: Option<String>,
        /// Now.
        at: Timestamp,
    },
    /// Removes a service at once; its tasks stop and are then forgotten.
    RemoveService {
        /// The service.
        id: ServiceId,
        /// Now.
        at: Timestamp,
    },
    /// What the leader's reconcilers and scheduler decided in one pass.
    Plan(Plan),
    /// What agents observed; everything the leader gathered, of any number of nodes.
    ReportTasks {
        /// One per node.
        reports: Vec<NodeReport>,
        /// When the leader heard it.
        at: Timestamp,
    },
}

/// The changes of one pass, carried out in this order. A change that no longer fits what the State has become
/// meanwhile is left out; the rest is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Seal of the plan it builds on. The whole plan is refused when another one came first, so a plan can be
    /// proposed again without being carried out twice.
    pub base: u64,
    /// Its own seal.
    pub seal: u64,
    /// Now.
    pub at: Timestamp,
    /// What to do.
    pub changes: Vec<Change>,
}

/// One decision of the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A node came up or went down.
    Node {
        /// The node.
        node: NodeId,
        /// Its status.
        status: NodeStatus,
        /// Why.
        message: String,
    },
    /// A new task of the service's current revision.
    Create {
        /// Its new id.
        task: TaskId,
        /// Its service.
        service: ServiceId,
        /// Its slot, 1 to replicas.
        slot: u32,
        /// `Ready` beside the task it will replace, else `Running`.
        desired: Desired,
        /// Failures in a row before it.
        failures: u32,
    },
    /// Something else is wanted of a task. Only ever more than before.
    Desire {
        /// The task.
        task: TaskId,
        /// What is wanted.
        desired: Desired,
    },
    /// A node for a pending task.
    Place {
        /// The task.
        task: TaskId,
        /// A ready node with room for it.
        node: NodeId,
    },
    /// Why a pending task waits.
    Say {
        /// The task.
        task: TaskId,
        /// In words.
        message: String,
    },
    /// The task's node has been down for too long.
    Orphan {
        /// The task.
        task: TaskId,
    },
    /// A task is forgotten.
    Forget {
        /// The task.
        task: TaskId,
    },
    /// The update of a service moves on.
    Update {
        /// The service.
        service: ServiceId,
        /// The revision this was decided for; left out when the service has another by now.
        spec_version: u64,
        /// Where to.
        progress: Progress,
    },
}

/// How an update moves on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// All tasks are of the wanted revision: completed, or rolled back.
    Done,
    /// A task failed: stop here.
    Pause {
        /// Which, and why.
        message: String,
    },
    /// A task failed: return to the revision before.
    RollBack {
        /// Which, and why.
        message: String,
    },
}

/// What one agent observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Who says so. Statuses of tasks that are not placed there are ignored.
    pub node: NodeId,
    /// One per task.
    pub statuses: Vec<TaskStatus>,
}

/// What an agent observed of one of its tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The task.
    pub task: TaskId,
    /// Where it is.
    pub state: TaskState,
    /// What is happening.
    #[serde(default)]
    pub message: String,
    /// Why it failed or was rejected.
    #[serde(default)]
    pub error: String,
    /// Of its process.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Of the container, once known.
    #[serde(default)]
    pub address: String,
    /// On the node, once known.
    #[serde(default)]
    pub pid: u32,
}

/// The most bytes of a text in a status that are kept.
const LONGEST_TEXT: usize = 1024;

impl TaskStatus {
    /// The status with every text cut to a length the log can bear, between characters.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        for text in [&mut self.message, &mut self.error, &mut self.address] {
            let mut end = text.len().min(LONGEST_TEXT);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        self
    }
}
