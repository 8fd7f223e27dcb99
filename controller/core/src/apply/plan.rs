//! Carries out a plan of the leader, change by change.
//!
//! Between the moment a plan was made and the moment it is applied, people and agents may have changed the
//! State. Each change is therefore checked against what is there now, and left out when it no longer fits: no
//! plan, however old or wrong, can put two tasks wanted running into a slot or more onto a node than it holds.

use std::sync::Arc;

use crate::{
    apply::node,
    command::{Change, Plan},
    event::Event,
    ids::{NodeId, ServiceId, TaskId},
    object::{Desired, Node, NodeStatus, Task, TaskState},
    refusal::Refusal,
    state::State,
    time::Timestamp,
};

pub(super) fn apply(state: &mut State, plan: &Plan) -> Result<Vec<Event>, Refusal> {
    if plan.base != state.plan_seal {
        return Err(Refusal::PlanOutdated);
    }
    state.begin();
    state.plan_seal = plan.seal;
    Ok(plan.changes.iter().filter_map(|change| carry_out(state, change, plan.at)).collect())
}

/// Carries out one change, unless it does not fit.
pub(crate) fn carry_out(state: &mut State, change: &Change, at: Timestamp) -> Option<Event> {
    match change {
        Change::Node { node, status, message } => set_status(state, node, *status, message, at),
        Change::Create { task, service, slot, desired, failures } => {
            create(state, *task, *service, *slot, *desired, *failures, at)
        }
        Change::Desire { task, desired } => desire(state, *task, *desired),
        Change::Place { task, node } => place(state, *task, *node, at),
        Change::Say { task, message } => say(state, *task, message),
        Change::Orphan { task } => orphan(state, *task, at),
        Change::Forget { task } => forget(state, *task),
        Change::Update { service, spec_version, progress } => {
            super::service::progress(state, *service, *spec_version, progress, at)
        }
    }
}

fn set_status(
    state: &mut State,
    id: &NodeId,
    status: NodeStatus,
    message: &str,
    at: Timestamp,
) -> Option<Event> {
    let node = state.node(id).filter(|node| node.status != status)?;
    let node = Node::clone(node);
    Some(node::set_status(state, node, status, message.to_owned(), at))
}

/// Whether `slot` holds a task of which `desired` is wanted and that has not ended.
fn slot_has(state: &State, service: &ServiceId, slot: u32, desired: Desired) -> bool {
    state.tasks_in_slot(service, slot).any(|task| task.is_wanted() && task.desired == desired)
}

fn create(
    state: &mut State,
    id: TaskId,
    service: ServiceId,
    slot: u32,
    desired: Desired,
    failures: u32,
    at: Timestamp,
) -> Option<Event> {
    let owner = state.service(&service)?;
    let outside = slot == 0 || slot > owner.spec.replicas;
    if outside
        || desired > Desired::Running
        || state.task(&id).is_some()
        || slot_has(state, &service, slot, desired)
    {
        return None;
    }
    let task = Task {
        id,
        version: 0,
        service,
        slot,
        node: None,
        spec_version: owner.spec_version,
        spec: Arc::clone(&owner.template),
        desired,
        state: TaskState::Pending,
        since: at,
        message: String::new(),
        error: String::new(),
        exit_code: None,
        address: String::new(),
        pid: 0,
        created_at: at,
        made_in: state.version,
        running_since: None,
        failures,
        trace: owner.trace.clone(),
    };
    state.put_task(task);
    Some(Event::TaskCreated(id))
}

fn desire(state: &mut State, id: TaskId, desired: Desired) -> Option<Event> {
    let task = state.task(&id).filter(|task| task.desired < desired)?;
    if desired == Desired::Running && slot_has(state, &task.service, task.slot, desired) {
        return None;
    }
    let task = Task { desired, ..Task::clone(task) };
    state.put_task(task);
    Some(Event::TaskDesired { task: id, desired })
}

fn place(state: &mut State, id: TaskId, node: NodeId, at: Timestamp) -> Option<Event> {
    let task = state.task(&id).filter(|task| task.is_unplaced())?;
    let target = state.node(&node).filter(|node| node.is_ready())?;
    let free = target.description.capacity.minus(state.usage(&node).reserved);
    if !task.spec.container.reservations.fits(free) {
        return None;
    }
    let message = String::new();
    let task = Task { node: Some(node), state: TaskState::Assigned, since: at, message, ..Task::clone(task) };
    state.put_task(task);
    Some(Event::TaskPlaced { task: id, node })
}

fn say(state: &mut State, id: TaskId, message: &str) -> Option<Event> {
    let task = state.task(&id).filter(|task| task.is_unplaced() && task.message != message)?;
    let task = Task { message: message.to_owned(), ..Task::clone(task) };
    let observed = task.state;
    state.put_task(task);
    Some(Event::TaskObserved { task: id, state: observed })
}

fn orphan(state: &mut State, id: TaskId, at: Timestamp) -> Option<Event> {
    let task = state.task(&id).filter(|task| !task.state.is_finished() && state.is_lost(task))?;
    let error = "its node has been down for too long".to_owned();
    let task = Task { state: TaskState::Orphaned, since: at, error, ..Task::clone(task) };
    state.put_task(task);
    Some(Event::TaskObserved { task: id, state: TaskState::Orphaned })
}

fn forget(state: &mut State, id: TaskId) -> Option<Event> {
    let task = state.task(&id).filter(|task| {
        let removed = task.desired == Desired::Remove && state.is_lost(task);
        task.state.is_finished() || removed || task.node.is_none() && !task.is_wanted()
    })?;
    let id = task.id;
    state.remove_task(&id);
    Some(Event::TaskForgotten(id))
}
