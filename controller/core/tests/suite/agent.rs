//! A fake agent: takes the assignment set of its node and moves its tasks, one state per turn.

use std::collections::{BTreeMap, BTreeSet};

use controller_core::{
    Desired, NodeId, State, TaskId, TaskState, TaskStatus,
    assign::{AssignmentSet, assignments, diff},
};

/// What the agent does with tasks of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Runs until told otherwise.
    Run,
    /// Is rejected while it is prepared.
    Reject,
    /// Runs for one turn, then exits with code 1.
    Crash,
}

/// Turns a container takes to stop, longer than it takes to start: an overlap would show.
const STOP_TURNS: u32 = 4;

/// One agent. What it knows comes from differences of assignment sets, as over a stream.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    known: AssignmentSet,
    tasks: BTreeMap<TaskId, TaskState>,
    stopping: BTreeMap<TaskId, u32>,
    pub(crate) doomed: BTreeSet<TaskId>,
    pub(crate) connected: bool,
    /// Whether the next report holds every task: the first one of a session does, since reports that the
    /// leader before had not written yet are lost with it.
    pub(crate) fresh: bool,
}

pub(crate) fn status(task: TaskId, state: TaskState) -> TaskStatus {
    TaskStatus {
        task,
        state,
        message: String::new(),
        error: String::new(),
        exit_code: None,
        address: String::new(),
        pid: 0,
    }
}

impl Agent {
    pub(crate) fn connected() -> Self {
        Self { connected: true, ..Self::default() }
    }

    /// Whether the agent is aware of a task that has not ended.
    pub(crate) fn runs(&self, task: &TaskId) -> bool {
        self.tasks.get(task).is_some_and(|state| !state.is_finished())
    }

    /// Takes the difference to what the State wants of its node.
    pub(crate) fn receive(&mut self, state: &State, node: &NodeId) {
        let wanted = assignments(state, node);
        let change = diff(&self.known, &wanted);
        for task in &change.remove {
            self.tasks.remove(task);
            self.stopping.remove(task);
        }
        for assignment in change.update {
            self.tasks.entry(assignment.task).or_insert(assignment.state);
            self.known.tasks.insert(assignment.task, assignment);
        }
        self.known.tasks.retain(|task, _| wanted.tasks.contains_key(task));
    }

    /// Moves every task by one state and says what changed.
    pub(crate) fn turn(&mut self, behaviour: impl Fn(&str) -> Behaviour) -> Vec<TaskStatus> {
        let mut reports = Vec::new();
        if std::mem::take(&mut self.fresh) {
            reports.extend(self.tasks.iter().map(|(task, state)| status(*task, *state)));
        }
        for (id, assignment) in &self.known.tasks {
            let Some(state) = self.tasks.get_mut(id).filter(|state| !state.is_finished()) else { continue };
            let behaviour = behaviour(&assignment.spec.container.image);
            let mut report = status(*id, *state);
            let next = if assignment.desired >= Desired::Shutdown {
                let turns = self.stopping.entry(*id).or_default();
                *turns += 1;
                (*state < TaskState::Starting || *turns >= STOP_TURNS).then_some(TaskState::Shutdown)
            } else if self.doomed.remove(id) {
                report.error = "killed".into();
                report.exit_code = Some(137);
                Some(TaskState::Failed)
            } else {
                forward(*state, assignment.desired, behaviour, &mut report)
            };
            if let Some(next) = next {
                *state = next;
                report.state = next;
                reports.push(report);
            }
        }
        reports
    }
}

fn forward(
    state: TaskState,
    desired: Desired,
    behaviour: Behaviour,
    report: &mut TaskStatus,
) -> Option<TaskState> {
    match state {
        TaskState::New | TaskState::Pending | TaskState::Assigned => Some(TaskState::Accepted),
        TaskState::Accepted => Some(TaskState::Preparing),
        TaskState::Preparing if behaviour == Behaviour::Reject => {
            report.error = "no such image".into();
            Some(TaskState::Rejected)
        }
        TaskState::Preparing => Some(TaskState::Ready),
        TaskState::Ready if desired < Desired::Running => None,
        TaskState::Ready => Some(TaskState::Starting),
        TaskState::Starting => {
            report.pid = 100;
            Some(TaskState::Running)
        }
        TaskState::Running if behaviour == Behaviour::Crash => {
            report.exit_code = Some(1);
            Some(TaskState::Failed)
        }
        _ => None,
    }
}
