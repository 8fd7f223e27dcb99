//! The tasks of a service, slot by slot: what all its reconcilers look at.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    command::Change,
    ids::{Ids, ServiceId},
    object::{Desired, Service, Task},
    state::State,
};

/// A service at one version of the State. Made once for all reconcilers, as long as none of them changes anything.
#[derive(Debug)]
pub struct View {
    /// What it was made from.
    pub state: State,
    /// The service, unless only tasks are left of it.
    pub service: Option<Arc<Service>>,
    slots: BTreeMap<u32, Slot>,
}

impl View {
    /// Groups the tasks of a service.
    #[must_use]
    pub fn of(state: &State, service: &ServiceId) -> Self {
        let mut slots: BTreeMap<u32, Slot> = BTreeMap::new();
        for task in state.tasks_of_service(service) {
            let lost = !task.state.is_finished() && state.is_lost(task);
            slots.entry(task.slot).or_default().tasks.push((Arc::clone(task), lost));
        }
        Self { state: state.clone(), service: state.service(service).cloned(), slots }
    }

    /// Slots 1 to `replicas`, empty ones included.
    pub(super) fn wanted_slots(&self, replicas: u32) -> impl Iterator<Item = (u32, &Slot)> {
        (1..=replicas).map(|number| (number, self.slots.get(&number).unwrap_or(&EMPTY)))
    }

    /// Slots beyond `replicas` that hold a task.
    pub(super) fn slots_beyond(&self, replicas: u32) -> impl Iterator<Item = &Slot> {
        self.slots.range(replicas.saturating_add(1)..).map(|(_, slot)| slot)
    }

    /// All slots that hold a task.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.values()
    }
}

/// The tasks in one slot, history included.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Each with whether it is unfinished on a node that is down.
    tasks: Vec<(Arc<Task>, bool)>,
}

static EMPTY: Slot = Slot { tasks: Vec::new() };

impl Slot {
    pub(super) fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.iter().map(|(task, _)| task)
    }

    /// Tasks that are to run and have not ended, as far as can be known.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.iter().filter(|(task, lost)| task.is_wanted() && !lost).map(|(task, _)| task)
    }

    /// Tasks on a node that is down.
    pub(super) fn lost(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.iter().filter(|(_, lost)| *lost).map(|(task, _)| task)
    }

    /// Tasks that were to run on a node that is down now.
    pub(super) fn wanted_but_lost(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.lost().filter(|task| task.is_wanted())
    }

    /// Whether a task that is no longer wanted may still have its container.
    pub(super) fn is_stopping(&self) -> bool {
        self.tasks.iter().any(|(task, lost)| task.holds_resources() && !task.is_wanted() && !lost)
    }

    /// The task that was made last.
    pub(super) fn newest(&self) -> Option<&Arc<Task>> {
        self.tasks().max_by_key(|task| task.made_in)
    }

    /// A new task for this slot. While the one before it is stopping, it is only prepared.
    pub(super) fn successor(&self, service: ServiceId, slot: u32, failures: u32, ids: &mut Ids) -> Change {
        let desired = if self.is_stopping() { Desired::Ready } else { Desired::Running };
        Change::Create { task: ids.task(), service, slot, desired, failures }
    }
}
