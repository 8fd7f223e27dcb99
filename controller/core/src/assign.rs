//! What one node is to do, as a function of the State, and the difference between two such sets.
//!
//! The dispatcher sends a node its whole set first and differences afterwards; it decides nothing.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    ids::{NodeId, ServiceId, TaskId},
    object::{Desired, Task, TaskSpec, TaskState},
    state::State,
};

/// One task, with everything its agent needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// Its service; the name is in `spec`.
    pub service: ServiceId,
    /// Its slot.
    pub slot: u32,
    /// What is wanted of it.
    pub desired: Desired,
    /// What it runs, as it was when the task was made.
    pub spec: Arc<TaskSpec>,
    /// W3C trace context of what caused it.
    pub trace: Option<Arc<str>>,
    /// Where it is, as far as the controllers heard. A finished task is not run again.
    pub state: TaskState,
}

/// Everything one node is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignmentSet {
    /// By task.
    pub tasks: BTreeMap<TaskId, Assignment>,
}

/// What turns one set into another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignmentDiff {
    /// New tasks, and those of which something else is wanted.
    pub update: Vec<Assignment>,
    /// Tasks to stop and forget.
    pub remove: Vec<TaskId>,
}

impl AssignmentDiff {
    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.update.is_empty() && self.remove.is_empty()
    }
}

/// A task stays with its node until it has ended as asked. One that ended by itself stays until it is forgotten,
/// so that its logs can still be read.
fn belongs(task: &Task) -> bool {
    !task.state.is_finished() || task.desired == Desired::Remove || task.state.ended_by_itself()
}

/// The set of a node; empty for a node that does not exist.
#[must_use]
pub fn assignments(state: &State, node: &NodeId) -> AssignmentSet {
    let assignment = |task: &Arc<Task>| Assignment {
        task: task.id,
        service: task.service,
        slot: task.slot,
        desired: task.desired,
        spec: Arc::clone(&task.spec),
        trace: task.trace.clone(),
        state: task.state,
    };
    let tasks = state.tasks_on_node(node).filter(|task| belongs(task));
    AssignmentSet { tasks: tasks.map(|task| (task.id, assignment(task))).collect() }
}

/// What to send to an agent that has `old` so that it has `new`. A task of which only the observed state is
/// another is not sent again: the agent said so itself.
#[must_use]
pub fn diff(old: &AssignmentSet, new: &AssignmentSet) -> AssignmentDiff {
    let same = |a: &Assignment, b: &Assignment| a.desired == b.desired;
    let changed = |(id, new): (&TaskId, &Assignment)| {
        old.tasks.get(id).is_none_or(|old| !same(old, new)).then(|| new.clone())
    };
    AssignmentDiff {
        update: new.tasks.iter().filter_map(changed).collect(),
        remove: old.tasks.keys().filter(|id| !new.tasks.contains_key(id)).copied().collect(),
    }
}
