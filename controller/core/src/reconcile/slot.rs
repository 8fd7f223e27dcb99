//! The tasks of a service, slot by slot.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    command::Change,
    ids::{Ids, ServiceId},
    object::{Desired, Task},
    state::State,
};

/// The tasks in one slot, history included.
#[derive(Debug, Default)]
pub(super) struct Slot<'a> {
    pub(super) tasks: Vec<&'a Arc<Task>>,
    /// Whether each of `tasks` is on a node that is down.
    lost: Vec<bool>,
}

impl<'a> Slot<'a> {
    /// All slots that hold a task.
    pub(super) fn of_service(state: &'a State, service: &ServiceId) -> BTreeMap<u32, Self> {
        let mut slots: BTreeMap<u32, Self> = BTreeMap::new();
        for task in state.tasks_of_service(service) {
            let slot = slots.entry(task.slot).or_default();
            slot.tasks.push(task);
            slot.lost.push(state.is_lost(task));
        }
        slots
    }

    /// Tasks that are to run and have not ended, as far as can be known.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &'a Arc<Task>> {
        self.each().filter(|(task, lost)| task.is_wanted() && !lost).map(|(task, _)| task)
    }

    /// Tasks that were to run on a node that is down now.
    pub(super) fn wanted_but_lost(&self) -> impl Iterator<Item = &'a Arc<Task>> {
        self.each().filter(|(task, lost)| task.is_wanted() && *lost).map(|(task, _)| task)
    }

    /// Whether a task that is no longer wanted may still have its container.
    pub(super) fn is_stopping(&self) -> bool {
        self.each().any(|(task, lost)| task.holds_resources() && !task.is_wanted() && !lost)
    }

    /// The task that was made last.
    pub(super) fn newest(&self) -> Option<&'a Arc<Task>> {
        self.tasks.iter().copied().max_by_key(|task| task.made_in)
    }

    fn each(&self) -> impl Iterator<Item = (&'a Arc<Task>, bool)> {
        self.tasks.iter().copied().zip(self.lost.iter().copied())
    }

    /// A new task for this slot. While the one before it is stopping, it is only prepared.
    pub(super) fn successor(&self, service: ServiceId, slot: u32, failures: u32, ids: &mut Ids) -> Change {
        let desired = if self.is_stopping() { Desired::Ready } else { Desired::Running };
        Change::Create { task: ids.task(), service, slot, desired, failures }
    }
}
