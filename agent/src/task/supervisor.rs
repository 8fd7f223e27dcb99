//! Makes the moves that [`machine::step`] decides on. One async task owns every
//! entry; work on containers runs beside it, at most one piece per task, and
//! comes back as a message. Fed by the session (what is wanted), by the engine's
//! events (what happened) and by its own work (what was done).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::v1::{TaskAssignment, TaskState};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, warn};

use super::machine::{self, Action, Desired, Observed, Task, retry_pause};
use super::status::Status;
use super::world::World;
use crate::assignment::Change;
use crate::clock::now_ms;
use crate::report::Reports;
use crate::telemetry;

/// Tasks that are prepared side by side; more would only contend for disk and network.
const PREPARATIONS: usize = 16;
/// Messages that may wait; the session pauses when there are more.
const QUEUE: usize = 256;

/// What the supervisor is told.
#[derive(Debug)]
enum Message {
    Assigned(Change),
    /// Something happened to the container of this task.
    Touched(String),
}

/// Where to tell the supervisor something. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
}

impl Handle {
    /// What the controller wants now.
    pub async fn assign(&self, change: Change) {
        // The supervisor ends only when the agent does; then nobody needs an answer.
        let _ = self.messages.send(Message::Assigned(change)).await;
    }

    /// The container of this task was started, has exited or was removed.
    pub async fn touch(&self, task_id: String) {
        let _ = self.messages.send(Message::Touched(task_id)).await;
    }
}

/// Starts a supervisor over `world`; it adopts every task that has a container
/// there, leaves those alone until the controller was heard, and ends with `stop`.
pub fn start<W: World>(world: Arc<W>, reports: Reports, stop: CancellationToken) -> Handle {
    let (messages, inbox) = mpsc::channel(QUEUE);
    let entries: BTreeMap<_, _> = world.tasks().into_iter().map(|id| (id, Entry::default())).collect();
    if !entries.is_empty() {
        info!(tasks = entries.len(), "adopted the containers of tasks");
    }
    let preparations = Arc::new(Semaphore::new(PREPARATIONS));
    let supervisor =
        Supervisor { world, reports, entries, work: JoinSet::new(), begun: BTreeMap::new(), preparations };
    tokio::spawn(supervisor.run(inbox, stop));
    Handle { messages }
}

/// One task.
#[derive(Debug, Default)]
struct Entry {
    /// None until the controller has said what it wants of an adopted task.
    wanted: Option<(Arc<TaskAssignment>, Desired)>,
    /// What was recorded here last; none of an adopted task.
    status: Option<Status>,
    fault: Option<String>,
    retry_at_ms: Option<u64>,
    failures: u32,
    /// Fires when a preparation under way is not wanted any more.
    busy: Option<CancellationToken>,
}

impl Entry {
    fn state(&self) -> TaskState {
        let known = self.wanted.as_ref().map_or(TaskState::New, |(task, _)| task.state());
        self.status.as_ref().map_or(known, |status| status.state.max(known))
    }

    fn want(&mut self, task: TaskAssignment, desired: Desired) {
        self.wanted = Some((Arc::new(task), desired));
        if desired >= Desired::Shutdown {
            self.cancel();
        }
    }

    /// Not in the controller's set any more.
    fn disown(&mut self, id: &str) {
        let task = match self.wanted.take() {
            Some((task, _)) => Arc::unwrap_or_clone(task),
            None => TaskAssignment { task_id: id.to_owned(), ..TaskAssignment::default() },
        };
        self.want(task, Desired::Forgotten);
    }

    fn cancel(&self) {
        if let Some(cancel) = &self.busy {
            cancel.cancel();
        }
    }
}

struct Supervisor<W> {
    world: Arc<W>,
    reports: Reports,
    entries: BTreeMap<String, Entry>,
    work: JoinSet<Result<(), String>>,
    /// What each piece of work under way is.
    begun: BTreeMap<tokio::task::Id, (String, Action)>,
    preparations: Arc<Semaphore>,
}

impl<W: World> Supervisor<W> {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                message = inbox.recv() => match message {
                    Some(Message::Assigned(change)) => self.assign(change),
                    Some(Message::Touched(id)) => self.drive(&id),
                    None => return,
                },
                Some(done) = self.work.join_next_with_id() => {
                    let (work, result) = match done {
                        Ok((work, result)) => (work, result),
                        Err(error) => (error.id(), Err(format!("it ended abnormally: {error}"))),
                    };
                    if let Some((id, action)) = self.begun.remove(&work) {
                        self.done(&id, &action, result);
                    }
                }
            }
        }
    }

    fn assign(&mut self, change: Change) {
        let (update, whole) = match change {
            Change::Whole(update) => (update, true),
            Change::Part { update, remove } => {
                for id in &remove {
                    self.disown(id);
                }
                (update, false)
            }
        };
        if whole {
            let named: std::collections::BTreeSet<&str> =
                update.iter().map(|task| task.task_id.as_str()).collect();
            let gone: Vec<String> =
                self.entries.keys().filter(|id| !named.contains(id.as_str())).cloned().collect();
            for id in &gone {
                self.disown(id);
            }
        }
        for task in update {
            self.want(task);
        }
    }

    fn disown(&mut self, id: &str) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.disown(id);
            self.drive(id);
        }
    }

    fn want(&mut self, task: TaskAssignment) {
        let id = task.task_id.clone();
        let heard = task.state();
        let desired = Desired::from(task.desired_state());
        let entry = self.entries.entry(id.clone()).or_default();
        entry.want(task, desired);
        // What the controller has not heard was lost with the last session.
        if let Some(status) = entry.status.as_ref().filter(|status| status.state > heard) {
            self.reports.put(&id, status.clone());
        }
        self.drive(&id);
    }

    /// Moves one task on until it waits or works.
    fn drive(&mut self, id: &str) {
        loop {
            let Some(entry) = self.entries.get_mut(id) else { return };
            if entry.busy.is_some() {
                return;
            }
            let Some((task, desired)) = entry.wanted.clone() else { return };
            let observed = Observed {
                container: self.world.see(id),
                fault: entry.fault.clone(),
                retry_at_ms: entry.retry_at_ms,
            };
            match machine::step(&Task { state: entry.state() }, desired, &observed, now_ms()) {
                Action::Wait => return,
                Action::Forget => {
                    debug!(task = id, "nothing is left of the task");
                    self.entries.remove(id);
                    self.reports.drop_task(id);
                    return;
                }
                Action::Advance(status) => {
                    log_status(id, &task, &status);
                    self.reports.put(id, status.clone());
                    entry.status = Some(status);
                }
                action => return self.begin(task, action),
            }
        }
    }

    /// Begins a piece of work, or a wait, which is one too: nothing else is
    /// begun for the task meanwhile.
    fn begin(&mut self, task: Arc<TaskAssignment>, action: Action) {
        let id = task.task_id.clone();
        let cancel = CancellationToken::new();
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.busy = Some(cancel.clone());
        }
        let span = telemetry::task_span(&action, &task);
        let (world, places) = (Arc::clone(&self.world), Arc::clone(&self.preparations));
        let work = perform(world, places, task, action.clone(), cancel).instrument(span);
        let begun = self.work.spawn(work);
        self.begun.insert(begun.id(), (id, action));
    }

    fn done(&mut self, id: &str, action: &Action, result: Result<(), String>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.busy = None;
        match (action, result) {
            (Action::WaitUntil(_), _) => entry.retry_at_ms = None,
            (Action::Prepare | Action::Start, Err(reason)) => entry.fault = Some(reason),
            (action, Err(reason)) => {
                entry.failures += 1;
                let pause = retry_pause(entry.failures);
                warn!(task = id, ?action, reason, "trying again in {} ms", pause.as_millis());
                entry.retry_at_ms = Some(now_ms() + u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
            }
            (_, Ok(())) => {
                entry.failures = 0;
                entry.retry_at_ms = None;
            }
        }
        self.drive(id);
    }
}

/// Does one piece of work, in a span that tells whether it failed.
async fn perform<W: World>(
    world: Arc<W>,
    places: Arc<Semaphore>,
    task: Arc<TaskAssignment>,
    action: Action,
    cancel: CancellationToken,
) -> Result<(), String> {
    let result = match action {
        Action::Prepare => {
            let place = tokio::select! {
                place = places.acquire_owned() => place,
                () = cancel.cancelled() => return Err("not wanted any more".to_owned()),
            };
            let result = world.prepare(task, cancel).await;
            drop(place);
            result
        }
        Action::Start => world.start(task).await,
        Action::Stop => world.stop(&task.task_id).await,
        Action::Remove => world.remove(&task.task_id).await,
        Action::WaitUntil(at_ms) => {
            tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms()))).await;
            Ok(())
        }
        Action::Advance(_) | Action::Forget | Action::Wait => Ok(()),
    };
    result.inspect_err(|reason| telemetry::record_failure(&tracing::Span::current(), reason))
}

fn log_status(id: &str, task: &TaskAssignment, status: &Status) {
    let state = status.state.as_str_name().trim_start_matches("TASK_STATE_").to_ascii_lowercase();
    let (service, slot) = (&task.service_name, task.slot);
    if status.error.is_empty() {
        info!(task = id, service, slot, "{state}");
    } else {
        warn!(task = id, service, slot, error = status.error, "{state}");
    }
}

#[cfg(test)]
mod tests;
