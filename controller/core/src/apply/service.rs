//! Services: created, updated and removed by people.

use std::sync::Arc;

use crate::{
    command::Progress,
    event::Event,
    ids::ServiceId,
    object::{Desired, Revision, Service, Task, TaskSpec, UpdateState, UpdateStatus},
    refusal::Refusal,
    spec::ServiceSpec,
    state::State,
    time::Timestamp,
};

fn template(spec: &ServiceSpec) -> TaskSpec {
    TaskSpec { service_name: spec.name.clone(), container: spec.container.clone(), ports: spec.ports.clone() }
}

/// Refuses a specification that breaks a rule or wants a port of another service than `id`.
fn admissible(state: &State, id: ServiceId, spec: &ServiceSpec) -> Result<(), Refusal> {
    spec.validate().map_err(Refusal::Invalid)?;
    for port in &spec.ports {
        match state.service_by_port(port.protocol, port.published) {
            Some(holder) if holder.id != id => {
                let service = holder.spec.name.clone();
                return Err(Refusal::PortTaken { port: port.published, protocol: port.protocol, service });
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn create(
    state: &mut State,
    id: ServiceId,
    spec: &ServiceSpec,
    trace: Option<&str>,
    at: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    // The touch of a removed service lives as long as its tasks: its id must not be used again meanwhile.
    if state.service(&id).is_some() || state.service_touched(&id).is_some() {
        return Err(Refusal::Exists { object: format!("service {id}") });
    }
    admissible(state, id, spec)?;
    if state.service_by_name(&spec.name).is_some() {
        return Err(Refusal::NameTaken { name: spec.name.clone() });
    }
    state.begin();
    state.put_service(Service {
        id,
        version: 0,
        spec: spec.clone(),
        spec_version: 1,
        template: Arc::new(template(spec)),
        previous: None,
        update: UpdateStatus::default(),
        trace: trace.map(Arc::from),
        created_at: at,
        updated_at: at,
    });
    Ok(vec![Event::ServiceCreated(id)])
}

pub(super) fn update(
    state: &mut State,
    id: ServiceId,
    version: u64,
    spec: &ServiceSpec,
    trace: Option<&str>,
    at: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let Some(service) = state.service(&id) else {
        return Err(Refusal::NotFound { object: format!("service {id}") });
    };
    if service.version != version {
        let object = format!("service {}", service.spec.name);
        return Err(Refusal::Stale { object, have: service.version, read: version });
    }
    if service.spec.name != spec.name {
        return Err(Refusal::Renamed { name: service.spec.name.clone(), wished: spec.name.clone() });
    }
    admissible(state, id, spec)?;
    let mut service = Service::clone(service);
    let template = template(spec);
    let mut events = vec![Event::ServiceUpdated(id)];
    if template != *service.template {
        start_update(&mut service, template, state.version + 1, at);
        events.push(Event::UpdateMoved { service: id, state: UpdateState::Updating });
    }
    service.spec = spec.clone();
    service.trace = trace.map(Arc::from);
    service.updated_at = at;
    state.begin();
    state.put_service(service);
    Ok(events)
}

/// Makes `template` the current revision. Where to return to stays the last revision that was good: an update
/// that was not completed is not.
fn start_update(service: &mut Service, template: TaskSpec, started_in: u64, at: Timestamp) {
    let wanted_version = service.version + 1;
    let current = Revision { spec_version: service.spec_version, template: Arc::clone(&service.template) };
    let unfinished = matches!(service.update.state, UpdateState::Updating | UpdateState::Paused);
    service.previous = if unfinished { service.previous.take().or(Some(current)) } else { Some(current) };
    (service.spec_version, service.template) = match &service.previous {
        // Back to what ran before: tasks of that revision that are still there need not be replaced.
        Some(previous) if *previous.template == template => {
            (previous.spec_version, Arc::clone(&previous.template))
        }
        _ => (wanted_version, Arc::new(template)),
    };
    let state = UpdateState::Updating;
    service.update = UpdateStatus { state, started_at: at, started_in, ..UpdateStatus::default() };
}

/// Moves the update of a service on, unless it has another revision by now.
pub(super) fn progress(
    state: &mut State,
    id: ServiceId,
    spec_version: u64,
    progress: &Progress,
    at: Timestamp,
) -> Option<Event> {
    let service = state.service(&id)?;
    if service.spec_version != spec_version || !service.update.state.is_active() {
        return None;
    }
    let mut service = Service::clone(service);
    match progress {
        Progress::Done => {
            let rolling_back = service.update.state == UpdateState::RollingBack;
            service.update.state =
                if rolling_back { UpdateState::RolledBack } else { UpdateState::Completed };
            service.update.completed_at = Some(at);
            service.previous = None;
        }
        Progress::Pause { message } => {
            service.update.state = UpdateState::Paused;
            service.update.message.clone_from(message);
            service.update.completed_at = Some(at);
        }
        Progress::RollBack { message } => {
            let previous = service.previous.take()?;
            service.spec.container = previous.template.container.clone();
            service.spec.ports.clone_from(&previous.template.ports);
            service.spec_version = previous.spec_version;
            service.template = previous.template;
            service.update = UpdateStatus {
                state: UpdateState::RollingBack,
                message: message.clone(),
                started_at: at,
                started_in: state.version,
                completed_at: None,
            };
        }
    }
    service.updated_at = at;
    let moved = service.update.state;
    state.put_service(service);
    Some(Event::UpdateMoved { service: id, state: moved })
}

pub(super) fn remove(state: &mut State, id: ServiceId, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
    if state.service(&id).is_none() {
        return Err(Refusal::NotFound { object: format!("service {id}") });
    }
    state.begin();
    let tasks: Vec<Arc<Task>> = state.tasks_of_service(&id).cloned().collect();
    state.remove_service(&id);
    if tasks.is_empty() {
        state.index.forget_service(&id);
    }
    let mut events = vec![Event::ServiceRemoved(id)];
    for task in tasks.iter().filter(|task| task.desired < Desired::Remove) {
        state.put_task(Task { desired: Desired::Remove, ..Task::clone(task) });
        events.push(Event::TaskDesired { task: task.id, desired: Desired::Remove });
    }
    Ok(events)
}
