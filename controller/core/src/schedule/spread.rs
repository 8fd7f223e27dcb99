//! Spreading a group of like tasks over the nodes that fit.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{
    ids::NodeId,
    schedule::{
        filter::first_reason,
        problem::{Need, Problem},
    },
};

/// Nodes for up to `count` tasks: always the one with the fewest tasks of this service, then with the fewest
/// tasks, then the first. Fewer nodes than asked for means that no node takes one more.
pub(super) fn place_group(problem: &mut Problem<'_>, need: &Need, count: usize) -> Vec<NodeId> {
    let mut best: BinaryHeap<Reverse<(u32, u32, usize)>> = problem
        .rows
        .iter()
        .enumerate()
        .filter(|(_, row)| first_reason(row, need).is_none())
        .map(|(ordinal, row)| Reverse((row.service_tasks, row.tasks, ordinal)))
        .collect();
    let mut placed = Vec::with_capacity(count);
    while placed.len() < count {
        let Some(Reverse((_, _, ordinal))) = best.pop() else { break };
        let row = &mut problem.rows[ordinal];
        row.free = row.free.minus(need.reserved);
        row.tasks += 1;
        row.service_tasks += 1;
        placed.push(row.node.id);
        if need.reserved.fits(row.free) {
            best.push(Reverse((row.service_tasks, row.tasks, ordinal)));
        }
    }
    placed
}
