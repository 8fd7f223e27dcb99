//! Nodes as rows of numbers, and what a task needs.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    ids::NodeId,
    object::{Node, NodeStatus, Task, TaskSpec},
    resources::Resources,
    spec::Constraint,
    state::State,
};

/// One node.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) node: &'a Node,
    pub(super) status: NodeStatus,
    pub(super) free: Resources,
    pub(super) tasks: u32,
    pub(super) service_tasks: u32,
}

impl<'a> Row<'a> {
    pub(super) fn of(state: &State, node: &'a Node) -> Self {
        let usage = state.usage(&node.id);
        Self {
            node,
            status: node.status,
            free: node.description.capacity.minus(usage.reserved),
            tasks: usage.tasks,
            service_tasks: 0,
        }
    }
}

/// All nodes, in the order of their ids.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    pub(super) rows: Vec<Row<'a>>,
    ordinals: BTreeMap<NodeId, usize>,
}

impl<'a> Problem<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        let rows: Vec<Row<'a>> = state.nodes().map(|node| Row::of(state, node)).collect();
        let ordinals = rows.iter().enumerate().map(|(ordinal, row)| (row.node.id, ordinal)).collect();
        Self { rows, ordinals }
    }

    /// Fills the column of wanted tasks that are like `task`. Tasks of another revision do not count: an update
    /// is about to replace them, and is to end up spread evenly.
    pub(super) fn count_like(&mut self, state: &State, task: &Task) {
        for row in &mut self.rows {
            row.service_tasks = 0;
        }
        let like = |other: &&Arc<Task>| other.is_wanted() && other.spec_version == task.spec_version;
        for other in state.tasks_of_service(&task.service).filter(like) {
            if let Some(row) = other.node.and_then(|node| self.ordinals.get(&node)) {
                self.rows[*row].service_tasks += 1;
            }
        }
    }
}

/// What one task asks of a node.
#[derive(Debug)]
pub(super) struct Need {
    pub(super) reserved: Resources,
    pub(super) constraints: Vec<Constraint>,
}

impl Need {
    /// Constraints were checked when the service was stated; one that cannot be read here would be ignored.
    pub(super) fn of(spec: &TaskSpec) -> Self {
        let constraints = spec.container.placement_constraints.iter();
        Self {
            reserved: spec.container.reservations,
            constraints: constraints.filter_map(|text| Constraint::parse(text).ok()).collect(),
        }
    }
}
