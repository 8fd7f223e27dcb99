//! What a node is to run, as its agent is told.

use controller_core::assign::{Assignment, AssignmentDiff};
use proto::v1;

use super::{spec, state};

/// One message of assignments; complete when it applies to nothing.
pub(crate) fn assignments(
    diff: &AssignmentDiff,
    applies_to: Option<String>,
    results_in: String,
) -> v1::Assignments {
    v1::Assignments {
        complete: applies_to.is_none(),
        applies_to: applies_to.unwrap_or_default(),
        results_in,
        update: diff.update.iter().map(one).collect(),
        remove: diff.remove.iter().map(ToString::to_string).collect(),
    }
}

fn one(assignment: &Assignment) -> v1::TaskAssignment {
    let spec = &assignment.spec;
    v1::TaskAssignment {
        task_id: assignment.task.to_string(),
        service_id: assignment.service.to_string(),
        service_name: spec.service_name.clone(),
        slot: assignment.slot,
        desired_state: state::desired(assignment.desired).into(),
        container: Some(spec::container_to_wire(&spec.container)),
        ports: spec.ports.iter().map(spec::port_to_wire).collect(),
        traceparent: assignment.trace.as_deref().unwrap_or_default().to_owned(),
        state: state::task_state(assignment.state).into(),
    }
}
