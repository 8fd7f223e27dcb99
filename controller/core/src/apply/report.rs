//! What agents observed. States only grow, and a node speaks for its own tasks only.

use crate::{
    command::{NodeReport, TaskStatus},
    event::Event,
    object::{Task, TaskState},
    state::State,
    time::Timestamp,
};

pub(super) fn apply(state: &mut State, reports: &[NodeReport], at: Timestamp) -> Vec<Event> {
    let mut events = Vec::new();
    for report in reports {
        for status in &report.statuses {
            let Some(task) = state.task(&status.task) else { continue };
            if task.node != Some(report.node) || !task.is_news(status) {
                continue;
            }
            let task = observed(task, status, at);
            if events.is_empty() {
                state.begin();
            }
            events.push(Event::TaskObserved { task: task.id, state: task.state });
            state.put_task(task);
        }
    }
    events
}

fn observed(task: &Task, status: &TaskStatus, at: Timestamp) -> Task {
    let mut task = task.clone();
    if status.state > task.state {
        task.state = status.state;
        task.since = at;
    }
    if status.state == TaskState::Running && task.running_since.is_none() {
        task.running_since = Some(at);
    }
    task.message = status.message.clone();
    task.error = status.error.clone();
    task.exit_code = status.exit_code.or(task.exit_code);
    if !status.address.is_empty() {
        task.address = status.address.clone();
    }
    if status.pid != 0 {
        task.pid = status.pid;
    }
    task
}
