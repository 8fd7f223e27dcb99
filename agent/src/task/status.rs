//! What the agent reports of a task: its state and what belongs to it.

use proto::v1::{TaskState, TaskStatus};

/// A state with the details that go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where the task is; only ever grows.
    pub state: TaskState,
    /// Since when, milliseconds since 1970.
    pub at_ms: u64,
    /// What is happening.
    pub message: String,
    /// Why it failed; empty unless it did.
    pub error: String,
    /// How it exited, once it has.
    pub exit_code: Option<i32>,
    /// The container's address while it runs.
    pub address: String,
    /// Its first process while it runs.
    pub pid: u32,
}

impl Status {
    /// A state that needs no details.
    pub fn plain(state: TaskState, at_ms: u64, message: &str) -> Self {
        Self {
            state,
            at_ms,
            message: message.to_owned(),
            error: String::new(),
            exit_code: None,
            address: String::new(),
            pid: 0,
        }
    }

    /// The same as it travels.
    pub fn to_wire(&self, task_id: &str) -> TaskStatus {
        TaskStatus {
            task_id: task_id.to_owned(),
            state: self.state.into(),
            at_ms: self.at_ms,
            message: self.message.clone(),
            error: self.error.clone(),
            exit_code: self.exit_code,
            address: self.address.clone(),
            pid: self.pid,
        }
    }
}
