//! Waiting until a service is what it was asked to be, with progress from the
//! controller's own pushes. `judge` is pure and says what a snapshot means.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proto::v1::{Service, Task, TaskState, WatchServiceRequest, WatchServiceResponse, update_status};
use tonic::{Code, Status};

use crate::client::{self, Control};
use crate::error::{CommandError, Kind};
use crate::output::{self, progress::Progress};

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

/// How long the controller may be away while its service is waited for.
const AWAY: Duration = Duration::from_secs(15);
/// Between two tries to find it again.
const RETRY: Duration = Duration::from_millis(300);
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

/// Waits until the service converges, showing progress. False when Ctrl-C ended
/// the waiting, which changes nothing else.
///
/// # Errors
/// [`Kind::NotConverged`] when it fails or `timeout` passes.
pub(super) async fn wait(
    control: &mut Control,
    name: &str,
    since_ms: u64,
    timeout: Duration,
) -> Result<bool, CommandError> {
    let mut progress = Progress::start(name);
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(timeout, follow(control, name, since_ms, &mut progress)) => outcome,
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
    since_ms: u64,
    progress: &mut Progress,
) -> Result<(), CommandError> {
    let mut heard = Instant::now();
    loop {
        match watch(control, name, since_ms, progress, &mut heard).await {
            Err(error) if error.kind == Kind::Unavailable && heard.elapsed() < AWAY => {
                tokio::time::sleep(RETRY).await;
            }
            Err(error) if error.kind == Kind::Unavailable => {
                return Err(error.hint(format!("the change is made; how it goes:  ctl service ps {name}")));
            }
            outcome => return outcome,
        }
    }
}

async fn watch(
    control: &mut Control,
    name: &str,
    since_ms: u64,
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
        let verdict = judge(&service, &tasks, since_ms);
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
    Err(CommandError::new(Kind::Unavailable, "the controller ended the watch"))
}

/// A connection that breaks in the middle has no code of its own.
fn broken(status: Status) -> CommandError {
    match status.code() {
        Code::Unknown | Code::Internal | Code::Cancelled | Code::Unavailable => {
            let cause = std::error::Error::source(&status).map(client::root_cause);
            let cause = cause.unwrap_or_else(|| status.message().to_owned());
            CommandError::new(Kind::Unavailable, format!("the controller went away ({cause})"))
        }
        _ => status.into(),
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{ServiceSpec, UpdateStatus};

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
    fn a_task_that_waits_for_a_node_says_why() {
        let mut pending = task(1, TaskState::Pending, "");
        pending.message = "no suitable node: 1 of 1 lacks memory".into();
        assert_eq!(judge(&service(1), &[pending.clone()], 0), Verdict::Waiting(pending.message));
    }
}
