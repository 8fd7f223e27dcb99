//! Invariants of the State, as data: what is broken, and where. Called by tests after every step, by the
//! simulator, and by operators.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    object::{Desired, TaskState, UpdateState},
    state::{State, ports_held},
};

/// One broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The invariant, as a sentence.
    pub rule: &'static str,
    /// What breaks it.
    pub subject: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.subject)
    }
}

/// Every broken invariant of `state`.
#[must_use]
pub fn check(state: &State) -> Vec<Violation> {
    let mut found = Vec::new();
    for rule in [names, ports, commitments, slots, places, owners, revisions, updates] {
        rule(state, &mut found);
    }
    for index in state.broken_indexes() {
        found.push(Violation { rule: "an index says what its table says", subject: index.to_owned() });
    }
    found
}

type Found = Vec<Violation>;

fn names(state: &State, found: &mut Found) {
    let rule = "a name belongs to one object";
    for node in state.nodes() {
        if state.node_by_name(&node.name).is_none_or(|named| named.id != node.id) {
            found.push(Violation { rule, subject: format!("node {}", node.name) });
        }
    }
    for service in state.services() {
        if state.service_by_name(&service.spec.name).is_none_or(|named| named.id != service.id) {
            found.push(Violation { rule, subject: format!("service {}", service.spec.name) });
        }
    }
}

fn ports(state: &State, found: &mut Found) {
    for service in state.services() {
        for (protocol, port) in ports_held(service) {
            if state.service_by_port(protocol, port).is_none_or(|holder| holder.id != service.id) {
                let subject = format!("port {port}/{protocol} of {}", service.spec.name);
                found.push(Violation { rule: "a published port belongs to one service", subject });
            }
        }
    }
}

fn commitments(state: &State, found: &mut Found) {
    for node in state.nodes() {
        let reserved = state.usage(&node.id).reserved;
        if !reserved.fits(node.description.capacity) {
            let subject = format!("{}: {reserved:?} of {:?}", node.name, node.description.capacity);
            found.push(Violation { rule: "no node is over-committed", subject });
        }
    }
}

fn slots(state: &State, found: &mut Found) {
    let mut wanted: BTreeMap<_, u32> = BTreeMap::new();
    for task in state.tasks().filter(|task| task.is_wanted()) {
        *wanted.entry((task.service, task.slot, task.desired)).or_default() += 1;
    }
    for ((service, slot, desired), count) in wanted.into_iter().filter(|(_, count)| *count > 1) {
        let subject = format!("slot {slot} of {service} has {count} wanted {desired}");
        found.push(Violation { rule: "a slot has at most one task of each wanted state", subject });
    }
}

fn places(state: &State, found: &mut Found) {
    for task in state.tasks() {
        let known = task.node.is_none_or(|node| state.node(&node).is_some());
        let reached = task.state >= TaskState::Assigned;
        if !known || reached != task.node.is_some() {
            let subject = format!("task {} is {} on {:?}", task.id, task.state, task.node);
            found.push(Violation { rule: "a task is on a node from the moment it is assigned", subject });
        }
    }
}

fn owners(state: &State, found: &mut Found) {
    for task in state.tasks() {
        let removed = task.desired == Desired::Remove;
        if task.slot == 0 || state.service(&task.service).is_none() && !removed {
            let subject = format!("task {} in slot {} of {}", task.id, task.slot, task.service);
            found.push(Violation { rule: "what is wanted belongs to a service", subject });
        }
    }
}

fn revisions(state: &State, found: &mut Found) {
    let mut templates = BTreeMap::new();
    for task in state.tasks() {
        let known = templates.entry((task.service, task.spec_version)).or_insert(&task.spec);
        if !Arc::ptr_eq(known, &task.spec) && *known != &task.spec {
            let subject = format!("task {}", task.id);
            found.push(Violation { rule: "tasks of one revision run the same", subject });
        }
    }
    for service in state.services() {
        let template = &service.template;
        let same = template.container == service.spec.container && template.ports == service.spec.ports;
        if !same || service.spec_version > service.version {
            let subject = format!("service {}", service.spec.name);
            found.push(Violation { rule: "new tasks get what the specification says", subject });
        }
    }
}

fn updates(state: &State, found: &mut Found) {
    for service in state.services() {
        let unfinished = matches!(service.update.state, UpdateState::Updating | UpdateState::Paused);
        if service.previous.is_some() && !unfinished {
            let subject = format!("service {} is {:?}", service.spec.name, service.update.state);
            found.push(Violation {
                rule: "a revision to return to is kept only while it may be needed",
                subject,
            });
        }
    }
}
