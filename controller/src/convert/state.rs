//! States of tasks and nodes, as numbers on the wire.

use controller_core::{Desired, NodeStatus, SpecError, TaskState, UpdateState};
use proto::v1;

use super::broken;

pub(super) fn task_state(state: TaskState) -> v1::TaskState {
    match state {
        TaskState::New => v1::TaskState::New,
        TaskState::Pending => v1::TaskState::Pending,
        TaskState::Assigned => v1::TaskState::Assigned,
        TaskState::Accepted => v1::TaskState::Accepted,
        TaskState::Preparing => v1::TaskState::Preparing,
        TaskState::Ready => v1::TaskState::Ready,
        TaskState::Starting => v1::TaskState::Starting,
        TaskState::Running => v1::TaskState::Running,
        TaskState::Complete => v1::TaskState::Complete,
        TaskState::Shutdown => v1::TaskState::Shutdown,
        TaskState::Failed => v1::TaskState::Failed,
        TaskState::Rejected => v1::TaskState::Rejected,
        TaskState::Orphaned => v1::TaskState::Orphaned,
    }
}

/// A state an agent may report of its own task: from accepted to rejected.
pub(super) fn observed(field: &str, number: i32) -> Result<TaskState, SpecError> {
    Ok(match v1::TaskState::try_from(number) {
        Ok(v1::TaskState::Accepted) => TaskState::Accepted,
        Ok(v1::TaskState::Preparing) => TaskState::Preparing,
        Ok(v1::TaskState::Ready) => TaskState::Ready,
        Ok(v1::TaskState::Starting) => TaskState::Starting,
        Ok(v1::TaskState::Running) => TaskState::Running,
        Ok(v1::TaskState::Complete) => TaskState::Complete,
        Ok(v1::TaskState::Shutdown) => TaskState::Shutdown,
        Ok(v1::TaskState::Failed) => TaskState::Failed,
        Ok(v1::TaskState::Rejected) => TaskState::Rejected,
        Ok(
            v1::TaskState::New
            | v1::TaskState::Pending
            | v1::TaskState::Assigned
            | v1::TaskState::Remove
            | v1::TaskState::Orphaned,
        )
        | Err(_) => return Err(broken(field, format!("{number} is no state an agent may report"))),
    })
}

pub(super) fn desired(desired: Desired) -> v1::TaskState {
    match desired {
        Desired::Ready => v1::TaskState::Ready,
        Desired::Running => v1::TaskState::Running,
        Desired::Shutdown => v1::TaskState::Shutdown,
        Desired::Remove => v1::TaskState::Remove,
    }
}

pub(super) fn node_status(status: NodeStatus) -> v1::node::Status {
    match status {
        NodeStatus::Unknown => v1::node::Status::Unknown,
        NodeStatus::Ready => v1::node::Status::Ready,
        NodeStatus::Down => v1::node::Status::Down,
    }
}

pub(super) fn update_state(state: UpdateState) -> v1::update_status::State {
    use v1::update_status::State;
    match state {
        UpdateState::None => State::None,
        UpdateState::Updating => State::Updating,
        UpdateState::Completed => State::Completed,
        UpdateState::Paused => State::Paused,
        UpdateState::RollingBack => State::RollingBack,
        UpdateState::RolledBack => State::RolledBack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_the_wire_are_those_of_the_core() {
        for number in 0..=1024 {
            if let Ok(state) = observed("state", number) {
                assert_eq!(i32::from(state as u16), number);
                assert_eq!(task_state(state) as i32, number);
            }
        }
        for wanted in [Desired::Ready, Desired::Running, Desired::Shutdown, Desired::Remove] {
            assert_eq!(desired(wanted) as i32, i32::from(wanted as u16));
        }
    }

    #[test]
    fn an_agent_cannot_report_what_is_not_its_to_say() {
        for number in [-1, 0, 1, 64, 192, 800, 832, i32::MAX] {
            assert!(observed("state", number).is_err(), "{number} was accepted");
        }
    }
}
