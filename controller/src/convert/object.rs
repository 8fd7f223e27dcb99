//! Objects of the State, as people see them.

use controller_core::reconcile::restart;
use controller_core::{Desired, Node, Service, State, Task, TaskState};
use proto::v1;

use super::{spec, state as states};

/// A service, with the number of its tasks that run.
pub(crate) fn service(state: &State, service: &Service) -> v1::Service {
    let runs = |task: &&Task| task.desired == Desired::Running && task.state == TaskState::Running;
    let running = state.tasks_of_service(&service.id).map(AsRef::as_ref).filter(runs).count();
    let update = &service.update;
    v1::Service {
        id: service.id.to_string(),
        version: service.version,
        spec: Some(spec::to_wire(&service.spec)),
        created_at_ms: service.created_at.0,
        updated_at_ms: service.updated_at.0,
        update_status: Some(v1::UpdateStatus {
            state: states::update_state(update.state).into(),
            message: update.message.clone(),
            started_at_ms: update.started_at.0,
            completed_at_ms: update.completed_at.unwrap_or_default().0,
        }),
        running: count(running),
        spec_version: service.spec_version,
    }
}

/// A task, with the name of its node.
pub(crate) fn task(state: &State, task: &Task) -> v1::Task {
    let node = task.node.as_ref();
    let name = node.and_then(|id| state.node(id)).map(|node| node.name.clone());
    v1::Task {
        id: task.id.to_string(),
        version: task.version,
        service_id: task.service.to_string(),
        service_name: task.spec.service_name.clone(),
        slot: task.slot,
        node_id: node.map(ToString::to_string).unwrap_or_default(),
        node_name: name.unwrap_or_default(),
        image: task.spec.container.image.clone(),
        desired_state: states::desired(task.desired).into(),
        state: states::task_state(task.state).into(),
        state_since_ms: task.since.0,
        message: task.message.clone(),
        error: task.error.clone(),
        exit_code: task.exit_code,
        address: task.address.clone(),
        created_at_ms: task.created_at.0,
        spec_version: task.spec_version,
        pid: task.pid,
        retry_at_ms: restart::retry_at(task).unwrap_or_default().0,
    }
}

/// A node, with what is placed on it.
pub(crate) fn node(state: &State, node: &Node) -> v1::Node {
    let description = &node.description;
    let tasks = state.tasks_on_node(&node.id).filter(|task| task.is_wanted()).count();
    v1::Node {
        id: node.id.to_string(),
        version: node.version,
        name: node.name.clone(),
        status: states::node_status(node.status).into(),
        status_message: node.status_message.clone(),
        address: description.address.clone(),
        labels: description.labels.clone().into_iter().collect(),
        capacity: Some(spec::resources_to_wire(description.capacity)),
        reserved: Some(spec::resources_to_wire(state.usage(&node.id).reserved)),
        tasks: count(tasks),
        agent_version: description.agent_version.clone(),
        os: description.os.clone(),
        architecture: description.architecture.clone(),
        kernel: description.kernel.clone(),
        joined_at_ms: node.joined_at.0,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
