//! Reports under way: gathered until the State shows them, proposed together, one entry at a time.
//!
//! While one batch is on its way to the log, everything that arrives waits and becomes the next: the busier
//! the cluster, the larger the batches.

use std::collections::BTreeMap;

use crate::{
    command::{Command, NodeReport, TaskStatus},
    control::PATIENCE,
    ids::{NodeId, TaskId},
    state::State,
    time::Timestamp,
};

/// What agents said and the State does not show yet. Holds at most one status per task that exists.
#[derive(Debug, Default)]
pub(super) struct Reports {
    waiting: BTreeMap<TaskId, (NodeId, TaskStatus)>,
    proposed: BTreeMap<TaskId, (NodeId, TaskStatus)>,
    again_at: Timestamp,
}

impl Reports {
    /// Takes a report in. Statuses that are old news, or of tasks of other nodes, are dropped here.
    pub(super) fn take(&mut self, state: &State, node: NodeId, statuses: Vec<TaskStatus>) {
        for status in statuses.into_iter().map(TaskStatus::bounded) {
            if !is_news(state, node, &status) {
                continue;
            }
            let newer = |known: &(NodeId, TaskStatus)| known.1.state > status.state;
            if !self.waiting.get(&status.task).is_some_and(newer) {
                self.waiting.insert(status.task, (node, status));
            }
        }
    }

    /// The next batch, unless there is nothing to say or one is under way.
    pub(super) fn flush(&mut self, state: &State, now: Timestamp) -> Option<Command> {
        self.proposed.retain(|_, (node, status)| is_news(state, *node, status));
        if !self.proposed.is_empty() {
            if now < self.again_at {
                return None;
            }
            for (task, status) in std::mem::take(&mut self.proposed) {
                self.waiting.entry(task).or_insert(status);
            }
        }
        self.waiting.retain(|_, (node, status)| is_news(state, *node, status));
        if self.waiting.is_empty() {
            return None;
        }
        self.proposed = std::mem::take(&mut self.waiting);
        self.again_at = now.plus(PATIENCE);
        let mut by_node: BTreeMap<NodeId, Vec<TaskStatus>> = BTreeMap::new();
        for (node, status) in self.proposed.values() {
            by_node.entry(*node).or_default().push(status.clone());
        }
        let reports = by_node.into_iter().map(|(node, statuses)| NodeReport { node, statuses }).collect();
        Some(Command::ReportTasks { reports, at: now })
    }
}

fn is_news(state: &State, node: NodeId, status: &TaskStatus) -> bool {
    state.task(&status.task).is_some_and(|task| task.node == Some(node) && task.is_news(status))
}
