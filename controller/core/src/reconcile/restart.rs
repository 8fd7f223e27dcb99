//! A new task where one ended by itself or its node went down.
//!
//! The first failure is answered at once, the next after 1 s, 2 s, 4 s and so on to 30 s. The count travels in
//! the tasks themselves, so a new leader goes on with it. A task that ran well for a while begins a new count;
//! a node that went down is nobody's failure.

use std::time::Duration;

use crate::{
    command::Change,
    ids::Ids,
    object::{Desired, Task},
    reconcile::{Outcome, View},
    time::Timestamp,
};

/// The longest pause between two attempts.
pub const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// A task that ran this long was no failure of its start.
pub const STABLE: Duration = Duration::from_secs(30);

/// Failures in a row, `task` included.
#[must_use]
pub fn failures(task: &Task) -> u32 {
    let stable = task.running_since.is_some_and(|running| task.since.since(running) >= STABLE);
    if stable { 1 } else { task.failures.saturating_add(1) }
}

/// How long to wait after this many failures in a row.
#[must_use]
pub fn delay(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => Duration::from_secs(1_u64.checked_shl(n - 2).unwrap_or(u64::MAX)).min(LONGEST_DELAY),
    }
}

/// When the slot of a task that ended by itself gets its next one.
#[must_use]
pub fn due(task: &Task) -> Timestamp {
    task.since.plus(delay(failures(task)))
}

/// When another task takes the slot of this one, if it ended by itself and is still wanted.
#[must_use]
pub fn retry_at(task: &Task) -> Option<Timestamp> {
    (task.is_wanted() && task.state.ended_by_itself()).then(|| due(task))
}

/// Looks for slots of one service that need a new task.
pub fn plan(view: &View, now: Timestamp, ids: &mut Ids) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(service) = &view.service else { return outcome };
    for (number, slot) in view.wanted_slots(service.spec.replicas) {
        let mut inherited = None;
        for task in slot.wanted_but_lost() {
            outcome.changes.push(Change::Desire { task: task.id, desired: Desired::Shutdown });
            inherited = Some(task.failures);
        }
        if slot.wanted().next().is_some() {
            continue;
        }
        let Some(newest) = slot.newest() else { continue };
        if let Some(failures) = inherited {
            outcome.changes.push(slot.successor(service.id, number, failures, ids));
        } else if newest.state.ended_by_itself() && newest.spec_version == service.spec_version {
            let due = due(newest);
            if due > now {
                outcome.look_again(due);
                continue;
            }
            outcome.changes.push(slot.successor(service.id, number, failures(newest), ids));
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_double_up_to_half_a_minute() {
        let seconds: Vec<u64> = (1..=9).map(|n| delay(n).as_secs()).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(delay(u32::MAX), LONGEST_DELAY);
    }
}
