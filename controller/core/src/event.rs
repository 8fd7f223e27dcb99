//! What a command changed. Every controller computes the same events; who acts on them is another matter.
//!
//! Nothing may depend on receiving them: what has to be done follows from the State alone.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ClusterId, NodeId, ServiceId, TaskId},
    object::{Desired, NodeStatus, TaskState, UpdateState},
    refusal::Refusal,
};

/// One change of the State, or the reason why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The command was not carried out.
    Refused(Refusal),
    /// The cluster was made.
    ClusterMade(ClusterId),
    /// A join token was made.
    TokenCreated,
    /// A node was let in under this name.
    NodeAdmitted {
        /// Its id.
        node: NodeId,
        /// Its unique name.
        name: String,
    },
    /// A node said what it is.
    NodeRegistered(NodeId),
    /// A node came up or went down.
    NodeChanged {
        /// The node.
        node: NodeId,
        /// Its status now.
        status: NodeStatus,
    },
    /// A service was created.
    ServiceCreated(ServiceId),
    /// A service has another specification.
    ServiceUpdated(ServiceId),
    /// The update of a service moved on.
    UpdateMoved {
        /// The service.
        service: ServiceId,
        /// Where its update is now.
        state: UpdateState,
    },
    /// A service was removed.
    ServiceRemoved(ServiceId),
    /// A task was made.
    TaskCreated(TaskId),
    /// A task got a node.
    TaskPlaced {
        /// The task.
        task: TaskId,
        /// The node.
        node: NodeId,
    },
    /// Something else is wanted of a task.
    TaskDesired {
        /// The task.
        task: TaskId,
        /// What.
        desired: Desired,
    },
    /// A task moved on, or says something else.
    TaskObserved {
        /// The task.
        task: TaskId,
        /// Where it is.
        state: TaskState,
    },
    /// A task was forgotten.
    TaskForgotten(TaskId),
}
