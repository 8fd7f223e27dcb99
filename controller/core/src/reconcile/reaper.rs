//! Turns tasks into history, and forgets them: those that were to be removed and have stopped, those that never
//! got anywhere, and history beyond the last few of each slot.

use std::sync::Arc;

use crate::{
    command::Change,
    ids::Ids,
    object::{Desired, Task},
    reconcile::{Outcome, View},
    time::Timestamp,
};

/// Finished tasks kept per slot.
pub const HISTORY: usize = 5;

/// Looks for tasks of one service (or of what is left of it) that can be forgotten.
pub fn plan(view: &View, _now: Timestamp, _ids: &mut Ids) -> Outcome {
    let mut outcome = Outcome::default();
    for slot in view.slots() {
        let replaced = slot.wanted().next().is_some();
        let mut finished: Vec<&Arc<Task>> = Vec::new();
        for task in slot.tasks() {
            let stopped = task.state.is_finished() || task.node.is_none() || view.state.is_lost(task);
            let removed = task.desired == Desired::Remove && stopped;
            let never_placed = task.node.is_none() && !task.is_wanted();
            if removed || never_placed {
                outcome.changes.push(Change::Forget { task: task.id });
            } else if task.state.is_finished() {
                finished.push(task);
                if replaced && task.desired < Desired::Shutdown {
                    outcome.changes.push(Change::Desire { task: task.id, desired: Desired::Shutdown });
                }
            }
        }
        // The newest last, as `Slot::newest` orders them: it paces the restarts and is always kept.
        finished.sort_by_key(|task| task.made_in);
        let surplus = finished.len().saturating_sub(HISTORY);
        outcome.changes.extend(finished[..surplus].iter().map(|task| Change::Forget { task: task.id }));
    }
    outcome
}
