//! Waiting until a service is what it was asked to be, with progress from the
//! controller's own pushes. `judge` is pure and says what a snapshot means.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::patience::{self, broken};
use crate::client::Control;
use crate::error::{CommandError, Kind};
use crate::output::{self, progress::Progress};
use proto::v1::{
    Service, ServiceSpec, Task, TaskState, UpdateStatus, WatchServiceRequest, WatchServiceResponse,
    update_status,
};

/// What a snapshot of a service means to somebody who waits for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// On its way; the text says what it waits for.
    Waiting(String),
    /// As many tasks as wanted run the wanted revision.
    Converged,
    /// It will not get there by itself soon, and why.
    Failed(String),
}

/// How many failed tries of one slot are enough to call it a failure.
const TRIES: usize = 2;

/// Judges a snapshot. `since_ms` leaves out what failed before the change.
pub(super) fn judge(service: &Service, tasks: &[Task], since_ms: u64) -> Verdict {
    use update_status::State;
    let update = service.update_status.clone().unwrap_or_default();
    match State::try_from(update.state).unwrap_or(State::None) {
        State::RolledBack if update.started_at_ms >= since_ms => {
            return Verdict::Failed(format!("the update was rolled back: {}", update.message));
        }
        State::Paused if update.started_at_ms >= since_ms => {
            return Verdict::Failed(format!("the update is paused: {}", update.message));
        }
        State::RollingBack => return Verdict::Waiting(format!("rolling back: {}", update.message)),
        State::Updating => return waiting(tasks, since_ms, "replacing tasks"),
        _ => {}
    }
    let replicas = service.spec.as_ref().map_or(0, |spec| spec.replicas);
    let wanted: Vec<&Task> =
        tasks.iter().filter(|task| task.desired_state <= TaskState::Running as i32).collect();
    let leaving = tasks.iter().any(|task| {
        task.desired_state > TaskState::Running as i32 && task.state < TaskState::Complete as i32
    });
    let running = wanted.iter().filter(|task| task.state == TaskState::Running as i32).count();
    if running == replicas as usize && wanted.len() == running && !leaving {
        return Verdict::Converged;
    }
    failure(tasks, since_ms).map_or_else(|| waiting(tasks, since_ms, ""), Verdict::Failed)
}

/// What a service waits for: what its newest task says, or what went wrong since the change.
fn waiting(tasks: &[Task], since_ms: u64, otherwise: &str) -> Verdict {
    let newest = tasks
        .iter()
        .filter(|task| {
            task.desired_state <= TaskState::Running as i32 && task.state < TaskState::Running as i32
        })
        .max_by_key(|task| task.state_since_ms);
    let failed = tasks
        .iter()
        .filter(|task| !task.error.is_empty() && task.state_since_ms >= since_ms)
        .max_by_key(|task| task.state_since_ms);
    let text = match (newest, failed) {
        (Some(task), _) if !task.message.is_empty() => task.message.clone(),
        (Some(_), Some(failed)) => failed.error.clone(),
        _ => otherwise.to_owned(),
    };
    Verdict::Waiting(text)
}

/// The error of a slot that failed [`TRIES`] times and has no running task.
fn failure(tasks: &[Task], since_ms: u64) -> Option<String> {
    let mut slots: BTreeMap<u32, Vec<&Task>> = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.created_at_ms >= since_ms) {
        slots.entry(task.slot).or_default().push(task);
    }
    slots.values().find_map(|slot| {
        let runs = slot.iter().any(|task| task.state == TaskState::Running as i32);
        let failed: Vec<&&Task> = slot.iter().filter(|task| is_failure(task)).collect();
        let last = failed.iter().max_by_key(|task| task.state_since_ms)?;
        (!runs && failed.len() >= TRIES).then(|| reason(last))
    })
}

fn is_failure(task: &Task) -> bool {
    task.state == TaskState::Failed as i32 || task.state == TaskState::Rejected as i32
}

fn reason(task: &Task) -> String {
    match (task.error.is_empty(), task.exit_code) {
        (false, _) => task.error.clone(),
        (true, Some(code)) => format!("the container exited with code {code}"),
        (true, None) => "the task failed".to_owned(),
    }
}

/// A change of a service that is waited for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// When it was made.
    pub(super) since_ms: u64,
    /// What it made of the service; `None` when that does not matter.
    pub(super) spec: Option<ServiceSpec>,
}

impl Change {
    /// The change that the controller answered with this service.
    pub(super) fn of(service: &Service) -> Self {
        Self { since_ms: service.updated_at_ms.max(service.created_at_ms), spec: service.spec.clone() }
    }

    /// Whether somebody has changed the service again since; its own way back after a failure does not count.
    fn is_overtaken(&self, service: &Service) -> bool {
        use update_status::State;
        let update = service.update_status.as_ref().map_or(State::None, UpdateStatus::state);
        let returns = matches!(update, State::RollingBack | State::RolledBack | State::Paused);
        self.spec.is_some() && self.spec != service.spec && !returns
    }
}

/// Waits until the service converges, showing progress. False when Ctrl-C ended
/// the waiting, which changes nothing else.
///
/// # Errors
/// [`Kind::NotConverged`] when it fails or `timeout` passes; [`Kind::Conflict`] when another change overtook it.
pub(super) async fn wait(
    control: &mut Control,
    name: &str,
    change: &Change,
    timeout: Duration,
) -> Result<bool, CommandError> {
    let mut progress = Progress::start(name);
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(timeout, follow(control, name, change, &mut progress)) => outcome,
        _ = tokio::signal::ctrl_c() => {
            progress.clear();
            output::note(&format!("not waiting any longer; the service goes on converging (ctl service ps {name})"));
            return Ok(false);
        }
    };
    match outcome {
        Ok(Ok(())) => {
            progress.finish();
            Ok(true)
        }
        Ok(Err(error)) => {
            progress.clear();
            Err(error)
        }
        Err(_) => {
            progress.clear();
            let text = format!("service {name} did not converge within {}s", timeout.as_secs());
            Err(CommandError::new(Kind::NotConverged, text)
                .hint(format!("what holds it up:  ctl service ps {name}")))
        }
    }
}

/// Watches until a verdict; a controller that restarts meanwhile is found again.
async fn follow(
    control: &mut Control,
    name: &str,
    change: &Change,
    progress: &mut Progress,
) -> Result<(), CommandError> {
    let outcome = patience::watch_again(async |heard: &mut Instant| {
        watch(control, name, change, progress, heard).await
    });
    outcome.await.map_err(|error| match error.kind {
        Kind::Unavailable => error.hint(format!("the change is made; how it goes:  ctl service ps {name}")),
        _ => error,
    })
}

async fn watch(
    control: &mut Control,
    name: &str,
    change: &Change,
    progress: &mut Progress,
    heard: &mut Instant,
) -> Result<(), CommandError> {
    let request = WatchServiceRequest { service: name.to_owned() };
    let mut changes = control.watch_service(request).await.map_err(broken)?.into_inner();
    while let Some(WatchServiceResponse { service, tasks }) = changes.message().await.map_err(broken)? {
        *heard = Instant::now();
        let Some(service) = service else {
            return Err(CommandError::new(
                Kind::NotFound,
                format!("service {name} was removed by someone else"),
            ));
        };
        let replicas = service.spec.as_ref().map_or(0, |spec| spec.replicas);
        if change.is_overtaken(&service) {
            let text = format!("somebody changed service {name} again before this change was carried out");
            let next = format!("what is wanted and runs now:  ctl service inspect {name}");
            return Err(CommandError::new(Kind::Conflict, text).hint(next));
        }
        let verdict = judge(&service, &tasks, change.since_ms);
        let message = if let Verdict::Waiting(text) = &verdict { text.as_str() } else { "" };
        progress.set(u64::from(service.running), u64::from(replicas), message);
        match verdict {
            Verdict::Converged => return Ok(()),
            Verdict::Failed(reason) => {
                return Err(CommandError::new(Kind::NotConverged, format!("service {name}: {reason}")));
            }
            Verdict::Waiting(_) => {}
        }
    }
    Err(patience::ended())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(replicas: u32) -> Service {
        Service { spec: Some(ServiceSpec { replicas, ..ServiceSpec::default() }), ..Service::default() }
    }

    fn task(slot: u32, state: TaskState, error: &str) -> Task {
        let desired =
            if (state as i32) > TaskState::Running as i32 { TaskState::Shutdown } else { TaskState::Running };
        Task {
            slot,
            state: state.into(),
            desired_state: desired.into(),
            created_at_ms: 10,
            state_since_ms: 10,
            error: error.into(),
            ..Task::default()
        }
    }

    #[test]
    fn all_running_is_converged() {
        let tasks = [task(1, TaskState::Running, ""), task(2, TaskState::Running, "")];
        assert_eq!(judge(&service(2), &tasks, 0), Verdict::Converged);
        assert_eq!(judge(&service(0), &[], 0), Verdict::Converged);
    }

    #[test]
    fn a_task_that_is_still_leaving_is_waited_for() {
        let mut leaving = task(2, TaskState::Running, "");
        leaving.desired_state = TaskState::Remove.into();
        let tasks = [task(1, TaskState::Running, ""), leaving];
        assert!(matches!(judge(&service(1), &tasks, 0), Verdict::Waiting(_)));
    }

    #[test]
    fn one_failed_try_is_no_failure_yet_but_two_are() {
        let mut tasks =
            vec![task(1, TaskState::Rejected, "image x not found"), task(1, TaskState::Preparing, "")];
        assert_eq!(judge(&service(1), &tasks, 0), Verdict::Waiting("image x not found".into()));
        tasks.push(task(1, TaskState::Rejected, "image x not found"));
        assert_eq!(judge(&service(1), &tasks, 0), Verdict::Failed("image x not found".into()));
    }

    #[test]
    fn failures_before_the_change_do_not_count() {
        let tasks = [
            task(1, TaskState::Failed, "old"),
            task(1, TaskState::Failed, "old"),
            task(1, TaskState::Starting, ""),
        ];
        assert!(matches!(judge(&service(1), &tasks, 11), Verdict::Waiting(_)));
    }

    #[test]
    fn a_rolled_back_update_is_a_failure_with_its_reason() {
        let mut service = service(0);
        let state = update_status::State::RolledBack.into();
        service.update_status =
            Some(UpdateStatus { state, message: "bad image".into(), ..UpdateStatus::default() });
        assert_eq!(judge(&service, &[], 0), Verdict::Failed("the update was rolled back: bad image".into()));
    }

    #[test]
    fn a_change_that_was_overtaken_by_another_is_not_reported_as_done() {
        let change = Change::of(&service(3));
        assert!(!change.is_overtaken(&service(3)));
        assert!(change.is_overtaken(&service(5)));
        let mut returning = service(2);
        let state = update_status::State::RollingBack.into();
        returning.update_status = Some(UpdateStatus { state, ..UpdateStatus::default() });
        assert!(!change.is_overtaken(&returning), "its own way back is told as such");
        assert!(!Change { since_ms: 0, spec: None }.is_overtaken(&service(5)));
    }

    #[test]
    fn a_task_that_waits_for_a_node_says_why() {
        let mut pending = task(1, TaskState::Pending, "");
        pending.message = "no suitable node: 1 of 1 lacks memory".into();
        assert_eq!(judge(&service(1), &[pending.clone()], 0), Verdict::Waiting(pending.message));
    }
}
