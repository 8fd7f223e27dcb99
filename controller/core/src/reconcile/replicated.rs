//! As many slots as replicas: fills the empty ones, empties those beyond, and lets prepared tasks run once
//! nothing is in their way. Slots whose task ended by itself, or is lost, are the business of `restart`.

use crate::{
    command::Change,
    ids::Ids,
    object::{Desired, Service},
    reconcile::{Outcome, View, slot::Slot},
    time::Timestamp,
};

/// Compares the slots of one service with its replicas.
pub fn plan(view: &View, _now: Timestamp, ids: &mut Ids) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(service) = &view.service else { return outcome };
    for (number, slot) in view.wanted_slots(service.spec.replicas) {
        settle(service, slot, &mut outcome);
        if slot.wanted().next().is_none()
            && slot.wanted_but_lost().next().is_none()
            && !restarts(service, slot)
        {
            outcome.changes.push(slot.successor(service.id, number, 0, ids));
        }
    }
    let beyond = view.slots_beyond(service.spec.replicas).flat_map(Slot::tasks);
    for task in beyond.filter(|task| task.desired < Desired::Remove) {
        outcome.changes.push(Change::Desire { task: task.id, desired: Desired::Remove });
    }
    outcome
}

/// Whether the slot's last task ended by itself and is replaced by one of the same revision, in time.
fn restarts(service: &Service, slot: &Slot) -> bool {
    slot.newest()
        .is_some_and(|task| task.state.ended_by_itself() && task.spec_version == service.spec_version)
}

/// Outside an update, a task that is only prepared either runs now or is not needed.
fn settle(service: &Service, slot: &Slot, outcome: &mut Outcome) {
    if service.update.state.is_active() {
        return;
    }
    let runs = slot.wanted().any(|task| task.desired == Desired::Running);
    for task in slot.wanted().filter(|task| task.desired == Desired::Ready) {
        if runs {
            outcome.changes.push(Change::Desire { task: task.id, desired: Desired::Remove });
        } else if !slot.is_stopping() {
            outcome.changes.push(Change::Desire { task: task.id, desired: Desired::Running });
        }
    }
}
