//! Why a service is not as wanted, in words: what every node says to one more of its tasks, and what each slot
//! without a running task waits for.

use std::fmt;

use crate::{
    ids::{NodeId, ServiceId},
    object::{Task, TaskState},
    reconcile::restart,
    resources::Resources,
    schedule,
    state::State,
    time::Timestamp,
};

/// What one node says to one more task of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeVerdict {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Why it cannot take it: "lacks memory: 100 MiB free, 512 MiB wanted"; `None` when it can.
    pub refusal: Option<String>,
}

/// What one slot waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotNote {
    /// The slot.
    pub slot: u32,
    /// In words.
    pub text: String,
}

/// Why a service is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Replicas wanted.
    pub wanted: u32,
    /// Slots whose task runs.
    pub running: u32,
    /// Every node, by name.
    pub nodes: Vec<NodeVerdict>,
    /// The slots without a running task.
    pub slots: Vec<SlotNote>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} running", self.running, self.wanted)?;
        for note in &self.slots {
            write!(f, "\nslot {}: {}", note.slot, note.text)?;
        }
        for verdict in &self.nodes {
            let words = verdict.refusal.as_deref().unwrap_or("can take one more");
            write!(f, "\nnode {} {words}", verdict.name)?;
        }
        Ok(())
    }
}

/// Explains a service; `None` when there is none.
#[must_use]
pub fn explain(state: &State, service: &ServiceId, now: Timestamp) -> Option<Explanation> {
    let service = state.service(service)?;
    let mut nodes: Vec<NodeVerdict> = state
        .nodes()
        .map(|node| {
            let reason = schedule::refusal(state, &service.template, &node.id, Resources::default());
            NodeVerdict {
                node: node.id,
                name: node.name.clone(),
                refusal: reason.map(|reason| reason.to_string()),
            }
        })
        .collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let wanted = service.spec.replicas;
    let slots: Vec<SlotNote> = (1..=wanted)
        .filter_map(|slot| {
            let tasks: Vec<&Task> = state.tasks_in_slot(&service.id, slot).map(AsRef::as_ref).collect();
            slot_text(&tasks, now).map(|text| SlotNote { slot, text })
        })
        .collect();
    let waiting = u32::try_from(slots.len()).unwrap_or(u32::MAX);
    Some(Explanation { wanted, running: wanted.saturating_sub(waiting), nodes, slots })
}

/// What a slot waits for; `None` when it runs.
fn slot_text(tasks: &[&Task], now: Timestamp) -> Option<String> {
    let newest = |tasks: &[&Task]| tasks.iter().max_by_key(|task| task.made_in).map(|task| (*task).clone());
    let live: Vec<&Task> = tasks.iter().copied().filter(|task| task.is_wanted()).collect();
    if live.iter().any(|task| task.state == TaskState::Running) {
        return None;
    }
    let Some(task) = newest(&live).or_else(|| newest(tasks)) else {
        return Some("its task is not made yet".into());
    };
    let said = if task.error.is_empty() { &task.message } else { &task.error };
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    if task.state.ended_by_itself() {
        let wait = restart::due(&task).since(now).as_secs_f64();
        return Some(format!("{}{said}; its next task comes in {wait:.0} s", task.state));
    }
    Some(format!("{}{said}", task.state))
}
