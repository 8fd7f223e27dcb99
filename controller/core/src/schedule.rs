//! The scheduler: gives waiting tasks a node, or says why there is none.
//!
//! Names become ordinals first; what is solved is a dense problem of rows (nodes) and numbers. Tasks of one
//! revision of a service are alike, so they are placed as a group: a heap of the nodes that fit yields the one
//! with the fewest tasks of this service, then with the fewest tasks at all.

mod filter;
mod problem;
mod spread;

use std::sync::Arc;

pub use self::filter::Reason;
use self::{
    filter::{first_reason, summary},
    problem::{Need, Problem},
    spread::place_group,
};
use crate::{
    command::Change,
    ids::NodeId,
    object::{Task, TaskSpec},
    resources::Resources,
    state::State,
};

/// What one scheduling pass decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placements {
    /// Nodes for tasks, and words for those that got none.
    pub changes: Vec<Change>,
    /// Whether every waiting task was looked at; the budget may have ended before.
    pub complete: bool,
}

/// Looks at every waiting task, by service and slot, until `budget` changes are decided.
#[must_use]
pub fn plan(state: &State, budget: usize) -> Placements {
    let waiting: Vec<&Arc<Task>> = state.unplaced_tasks().collect();
    if waiting.is_empty() {
        return Placements { changes: Vec::new(), complete: true };
    }
    let mut problem = Problem::of(state);
    let mut changes = Vec::new();
    for group in waiting.chunk_by(|a, b| a.service == b.service && a.spec_version == b.spec_version) {
        let [first, ..] = group else { continue };
        problem.count_like(state, first);
        let need = Need::of(&first.spec);
        let placed = place_group(&mut problem, &need, group.len().min(budget - changes.len()));
        let count = placed.len();
        changes.extend(group.iter().zip(placed).map(|(task, node)| Change::Place { task: task.id, node }));
        if changes.len() >= budget {
            return Placements { changes, complete: false };
        }
        if count == group.len() {
            continue;
        }
        let message = summary(&problem, &need);
        for task in group[count..].iter().filter(|task| task.message != message) {
            if changes.len() >= budget {
                return Placements { changes, complete: false };
            }
            changes.push(Change::Say { task: task.id, message: message.clone() });
        }
    }
    Placements { changes, complete: true }
}

/// Why a node refuses one more task of `spec`, once `freed` is given back to it; `None` when it does not.
/// A node that is not there refuses as one that is down.
#[must_use]
pub fn refusal(state: &State, spec: &TaskSpec, node: &NodeId, freed: Resources) -> Option<Reason> {
    let Some(node) = state.node(node) else { return Some(Reason::Down { message: "it is gone".into() }) };
    let mut row = problem::Row::of(state, node);
    row.free = row.free.plus(freed);
    first_reason(&row, &Need::of(spec))
}
