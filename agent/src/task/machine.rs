//! One move of one task, as a pure function of what it is, what is wanted, what
//! is seen and the time.
//!
//! ```text
//!  Assigned > Accepted > Preparing --prepare--> Ready > Starting --start--> Running > Complete
//!                            |                    |         |                  |       Failed
//!                            v                    |         v                  v
//!                         Rejected            (waits)     Failed     (stop) Shutdown
//! ```
//!
//! A move is either a step of the state, which is recorded and reported, or one
//! piece of work on the container. After each the supervisor looks again and
//! asks again, so an agent that starts in the middle of a task needs no other
//! path than one that was there from its beginning.

use std::net::Ipv4Addr;
use std::time::Duration;

use proto::v1::TaskState;

use super::status::Status;

/// What the controller wants of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Desired {
    /// Prepared, but not started: it is to replace another one.
    Ready,
    /// Running.
    Running,
    /// Stopped; its container stays, so that its log can be read.
    Shutdown,
    /// Stopped, nothing left of it, and that reported.
    Remove,
    /// The controller does not know it any more: nothing left, nothing reported.
    Forgotten,
}

impl From<TaskState> for Desired {
    fn from(state: TaskState) -> Self {
        match state {
            state if state >= TaskState::Remove => Self::Remove,
            state if state >= TaskState::Shutdown => Self::Shutdown,
            state if state >= TaskState::Starting => Self::Running,
            _ => Self::Ready,
        }
    }
}

/// What the agent remembers of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The largest state that was recorded here or that the controller knows.
    pub state: TaskState,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Exit code; 128 + signal when a signal killed it.
    pub code: i32,
    /// The kernel killed it for want of memory.
    pub out_of_memory: bool,
    /// What the engine knows better than the code tells: nobody saw it end.
    pub reason: Option<String>,
    /// It did not end by itself: all containers of the node were ended, or the host was restarted.
    pub taken_down: bool,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// The task's container, as seen just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// There is none.
    Absent,
    /// Made, never started.
    Created,
    /// Running.
    Running {
        /// Its address, if it has one.
        address: Option<Ipv4Addr>,
        /// Its first process.
        pid: u32,
    },
    /// Ended.
    Exited(Ended),
}

/// All that a move depends on beside the task itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The container.
    pub container: Seen,
    /// Why preparing or starting failed, when it did.
    pub fault: Option<String>,
    /// Stopping or removing failed; not to be tried again before this time.
    pub retry_at_ms: Option<u64>,
}

/// The next move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Record and report this status.
    Advance(Status),
    /// Get the image if it is missing and make the container.
    Prepare,
    /// Start the container.
    Start,
    /// Stop it.
    Stop,
    /// Remove what is left of it.
    Remove,
    /// Nothing is left; drop the task.
    Forget,
    /// Nothing to do until something changes.
    Wait,
    /// Nothing to do before this time, milliseconds since 1970.
    WaitUntil(u64),
}

/// The one next move of `task`. `now` in milliseconds since 1970.
pub fn step(task: &Task, desired: Desired, observed: &Observed, now: u64) -> Action {
    let action = match desired {
        Desired::Ready | Desired::Running => up(task, desired, observed, now),
        Desired::Shutdown => down(task, observed, now),
        Desired::Remove | Desired::Forgotten => away(task, desired, observed, now),
    };
    match (&action, observed.retry_at_ms) {
        (Action::Stop | Action::Remove, Some(at)) if now < at => Action::WaitUntil(at),
        _ => action,
    }
}

fn has_ended(task: &Task) -> bool {
    task.state >= TaskState::Complete
}

fn plain(state: TaskState, now: u64, message: &str) -> Action {
    Action::Advance(Status::plain(state, now, message))
}

/// Towards running, or to the pause point before it.
fn up(task: &Task, desired: Desired, observed: &Observed, now: u64) -> Action {
    if has_ended(task) {
        // It was given up here or by the controller; a container of it that still runs must not.
        return match observed.container {
            Seen::Running { .. } => Action::Stop,
            _ => Action::Wait,
        };
    }
    if let Some(reason) = &observed.fault {
        let state = if task.state >= TaskState::Starting { TaskState::Failed } else { TaskState::Rejected };
        return Action::Advance(failure(state, now, reason.clone()));
    }
    match &observed.container {
        Seen::Absent => absent(task, now),
        Seen::Created if task.state < TaskState::Ready => plain(TaskState::Ready, now, "prepared"),
        Seen::Created if desired == Desired::Ready => Action::Wait,
        Seen::Created if task.state < TaskState::Starting => plain(TaskState::Starting, now, "starting"),
        Seen::Created if task.state == TaskState::Starting => Action::Start,
        Seen::Created => {
            let reason = "its container was lost while it ran; another took its place on this node";
            Action::Advance(failure(TaskState::Failed, now, reason.to_owned()))
        }
        Seen::Running { .. } if task.state >= TaskState::Running => Action::Wait,
        Seen::Running { address, pid } => Action::Advance(Status {
            address: address.map(|address| address.to_string()).unwrap_or_default(),
            pid: *pid,
            ..Status::plain(TaskState::Running, now, "running")
        }),
        Seen::Exited(ended) => Action::Advance(own_end(ended)),
    }
}

fn absent(task: &Task, now: u64) -> Action {
    match task.state {
        state if state < TaskState::Accepted => plain(TaskState::Accepted, now, "accepted"),
        state if state < TaskState::Preparing => plain(TaskState::Preparing, now, "preparing"),
        TaskState::Preparing => Action::Prepare,
        _ => Action::Advance(failure(
            TaskState::Failed,
            now,
            "its container is gone from this node".to_owned(),
        )),
    }
}

/// Stopped, with the container kept for its log.
fn down(task: &Task, observed: &Observed, now: u64) -> Action {
    match &observed.container {
        Seen::Running { .. } => Action::Stop,
        _ if has_ended(task) => Action::Wait,
        // It never ran, so there is no log to keep.
        Seen::Created => Action::Remove,
        Seen::Absent => plain(TaskState::Shutdown, now, "stopped before it was started"),
        Seen::Exited(ended) => Action::Advance(Status {
            exit_code: Some(ended.code),
            ..Status::plain(TaskState::Shutdown, ended.at_ms, "stopped")
        }),
    }
}

/// Nothing left of it; and only then reported, so that whoever sees the task
/// vanish may rely on it.
fn away(task: &Task, desired: Desired, observed: &Observed, now: u64) -> Action {
    match &observed.container {
        Seen::Running { .. } => Action::Stop,
        Seen::Created | Seen::Exited(_) => Action::Remove,
        Seen::Absent if desired == Desired::Forgotten => Action::Forget,
        Seen::Absent if has_ended(task) => Action::Wait,
        Seen::Absent => plain(TaskState::Shutdown, now, "stopped and removed"),
    }
}

fn failure(state: TaskState, at_ms: u64, error: String) -> Status {
    Status { error, ..Status::plain(state, at_ms, "") }
}

/// It ended though it was wanted running.
fn own_end(ended: &Ended) -> Status {
    let exit_code = Some(ended.code);
    if ended.taken_down {
        // Nobody's failure: another takes its place at once, however often that happens.
        let message = ended.reason.as_deref().unwrap_or("stopped with its node");
        return Status { exit_code, ..Status::plain(TaskState::Shutdown, ended.at_ms, message) };
    }
    if ended.code == 0 {
        return Status { exit_code, ..Status::plain(TaskState::Complete, ended.at_ms, "exited with code 0") };
    }
    let error = match (&ended.reason, ended.code) {
        (Some(reason), _) => reason.clone(),
        _ if ended.out_of_memory => "killed: it used more memory than its limit".to_owned(),
        (None, code @ 129..=192) => format!("killed by signal {}", code - 128),
        (None, code) => format!("exited with code {code}"),
    };
    Status { exit_code, ..failure(TaskState::Failed, ended.at_ms, error) }
}

/// How long after a failed stop or removal the next try is; `failures` counts from 1.
pub fn retry_pause(failures: u32) -> Duration {
    Duration::from_millis(500 << failures.clamp(1, 6).saturating_sub(1))
}

#[cfg(test)]
mod tests;
