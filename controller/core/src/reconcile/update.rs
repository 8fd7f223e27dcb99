//! Replaces the tasks of a service by tasks of its current revision, a few slots at a time.
//!
//! In each slot the new task is prepared beside the old one, then the old one stops, then the new one runs.
//! A new task that ends by itself while it is monitored fails the update: it returns to the revision before,
//! or pauses. A rollback is an update too; a rollback that fails only pauses. All progress is in the State, so
//! a newer specification or a newer leader just goes on from what is there.

use crate::{
    command::{Change, Progress},
    ids::Ids,
    object::{Desired, Service, Task, TaskState, UpdateState},
    reconcile::{Outcome, View, slot::Slot},
    schedule,
    spec::FailureAction,
    state::State,
    time::Timestamp,
};

/// How far one slot is.
enum Stage {
    /// Runs the wanted revision since then.
    Done(Timestamp),
    /// Is being replaced, or waits to be filled.
    Busy,
    /// Runs another revision.
    Outdated,
}

/// Moves the update of one service on.
pub fn plan(view: &View, now: Timestamp, ids: &mut Ids) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(service) = view.service.as_ref().filter(|service| service.update.state.is_active()) else {
        return outcome;
    };
    let progress =
        |progress| Change::Update { service: service.id, spec_version: service.spec_version, progress };
    if let Some(failed) = view.slots().flat_map(Slot::tasks).find(|task| failed_update(service, task)) {
        let message = failure(failed);
        let policy = service.spec.update.failure_action;
        let rolls_back = service.update.state == UpdateState::Updating
            && policy == FailureAction::Rollback
            && service.previous.is_some();
        let next = if rolls_back { Progress::RollBack { message } } else { Progress::Pause { message } };
        outcome.changes.push(progress(next));
        return outcome;
    }
    let (mut busy, mut outdated, mut monitored_until) = (0, Vec::new(), Some(now));
    for (number, slot) in view.wanted_slots(service.spec.replicas) {
        match move_slot(&view.state, service, slot, &mut outcome) {
            Stage::Done(since) => {
                let until = since.plus(service.spec.update.monitor());
                monitored_until = monitored_until.map(|known| known.max(until));
                continue;
            }
            Stage::Busy => busy += 1,
            Stage::Outdated => outdated.push((number, slot)),
        }
        monitored_until = None;
    }
    let room = service.spec.update.parallelism().saturating_sub(busy);
    for (number, slot) in outdated.into_iter().take(room) {
        replace(service, number, slot, ids, &mut outcome);
    }
    match monitored_until {
        Some(until) if until <= now => outcome.changes.push(progress(Progress::Done)),
        Some(until) => outcome.look_again(until),
        None => {}
    }
    outcome
}

/// Whether a task of this update ended by itself while it was monitored.
fn failed_update(service: &Service, task: &Task) -> bool {
    let of_this_update =
        task.spec_version == service.spec_version && task.made_in >= service.update.started_in;
    let monitor = service.spec.update.monitor();
    let monitored = task.running_since.is_none_or(|running| task.since.since(running) <= monitor);
    of_this_update && task.state.ended_by_itself() && monitored
}

fn failure(task: &Task) -> String {
    let what = match task.state {
        TaskState::Rejected => "was rejected",
        TaskState::Complete => "exited",
        _ => "failed",
    };
    let slot = task.slot;
    match (task.error.as_str(), task.exit_code) {
        ("", Some(code)) => format!("the task in slot {slot} {what}: exit code {code}"),
        ("", None) => format!("the task in slot {slot} {what}"),
        (error, _) => format!("the task in slot {slot} {what}: {error}"),
    }
}

/// Takes a slot whose replacement has begun one move further.
fn move_slot(state: &State, service: &Service, slot: &Slot, outcome: &mut Outcome) -> Stage {
    let current = |task: &Task| task.spec_version == service.spec_version;
    let of_current = |desired| slot.wanted().find(|task| current(task) && task.desired == desired);
    if let Some(new) = of_current(Desired::Running) {
        for staged in slot.wanted().filter(|task| task.desired == Desired::Ready) {
            outcome.changes.push(Change::Desire { task: staged.id, desired: Desired::Remove });
        }
        return match new.running_since {
            Some(since) if new.state == TaskState::Running => Stage::Done(since),
            _ => Stage::Busy,
        };
    }
    let old = slot.wanted().find(|task| !current(task));
    let Some(new) = of_current(Desired::Ready) else {
        return if old.is_some() { Stage::Outdated } else { Stage::Busy };
    };
    match old {
        Some(old) if new.state >= TaskState::Ready || only_fits_instead(state, new, old) => {
            outcome.changes.push(Change::Desire { task: old.id, desired: Desired::Shutdown });
        }
        None if !slot.is_stopping() => {
            outcome.changes.push(Change::Desire { task: new.id, desired: Desired::Running });
        }
        _ => {}
    }
    Stage::Busy
}

/// Whether the new task found no node, and would find room where the old one is.
fn only_fits_instead(state: &State, new: &Task, old: &Task) -> bool {
    let freed = old.spec.container.reservations;
    new.is_unplaced()
        && !new.message.is_empty()
        && old.node.is_none_or(|node| schedule::refusal(state, &new.spec, &node, freed).is_none())
}

/// Begins the replacement of a slot. A task that an earlier update had only prepared makes room.
fn replace(service: &Service, number: u32, slot: &Slot, ids: &mut Ids, outcome: &mut Outcome) {
    for staged in slot.wanted().filter(|task| task.desired == Desired::Ready) {
        outcome.changes.push(Change::Desire { task: staged.id, desired: Desired::Remove });
    }
    let task = ids.task();
    let desired = Desired::Ready;
    outcome.changes.push(Change::Create { task, service: service.id, slot: number, desired, failures: 0 });
}
