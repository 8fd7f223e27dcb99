//! The supervisor over a world in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proto::v1::TaskStatus;

use super::*;
use crate::task::machine::{Ended, Seen};

/// Containers that do as they are told, with a record of it.
#[derive(Default)]
struct Memory {
    containers: Mutex<BTreeMap<String, Seen>>,
    done: Mutex<Vec<String>>,
    preparing: AtomicUsize,
    most_preparing: AtomicUsize,
    /// Preparations take this long.
    pull: Duration,
    /// How many removals still fail.
    stuck: AtomicUsize,
}

impl Memory {
    fn set(&self, id: &str, seen: Seen) {
        self.containers.lock().unwrap().insert(id.to_owned(), seen);
    }

    fn note(&self, what: &str, id: &str) {
        self.done.lock().unwrap().push(format!("{what} {id}"));
    }
}

impl World for Memory {
    fn see(&self, task_id: &str) -> Seen {
        self.containers.lock().unwrap().get(task_id).cloned().unwrap_or(Seen::Absent)
    }

    fn tasks(&self) -> Vec<String> {
        self.containers.lock().unwrap().keys().cloned().collect()
    }

    async fn prepare(&self, task: Arc<TaskAssignment>, cancel: CancellationToken) -> Result<(), String> {
        let now = self.preparing.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_preparing.fetch_max(now, Ordering::SeqCst);
        let cancelled = tokio::time::timeout(self.pull, cancel.cancelled()).await.is_ok();
        self.preparing.fetch_sub(1, Ordering::SeqCst);
        if cancelled {
            self.note("cancel", &task.task_id);
            return Err("not wanted any more".into());
        }
        assert!(task.service_name != "broken", "a defect in the engine");
        if task.container.as_ref().is_some_and(|spec| spec.image == "bad") {
            return Err("image bad not found".into());
        }
        self.note("prepare", &task.task_id);
        self.set(&task.task_id, Seen::Created);
        Ok(())
    }

    async fn start(&self, task: Arc<TaskAssignment>) -> Result<(), String> {
        self.note("start", &task.task_id);
        self.set(&task.task_id, Seen::Running { address: None, pid: 9 });
        Ok(())
    }

    async fn stop(&self, task_id: &str) -> Result<(), String> {
        self.note("stop", task_id);
        self.set(
            task_id,
            Seen::Exited(Ended {
                code: 143,
                out_of_memory: false,
                reason: None,
                taken_down: false,
                at_ms: 1,
            }),
        );
        Ok(())
    }

    async fn remove(&self, task_id: &str) -> Result<(), String> {
        if self.stuck.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err("device or resource busy".into());
        }
        self.note("remove", task_id);
        self.containers.lock().unwrap().remove(task_id);
        Ok(())
    }
}

struct Bench {
    world: Arc<Memory>,
    reports: Reports,
    handle: Handle,
    known: BTreeMap<String, TaskStatus>,
    _stop: tokio_util::sync::DropGuard,
}

impl Bench {
    fn new(world: Memory) -> Self {
        let world = Arc::new(world);
        let (reports, stop) = (Reports::default(), CancellationToken::new());
        let handle = start(Arc::clone(&world), reports.clone(), stop.clone());
        Self { world, reports, handle, known: BTreeMap::new(), _stop: stop.drop_guard() }
    }

    async fn whole(&self, tasks: Vec<TaskAssignment>) {
        self.handle.assign(Change::Whole(tasks)).await;
    }

    /// Until task `id` was reported to be in `state`.
    async fn reported(&mut self, id: &str, state: TaskState) -> TaskStatus {
        let wait = async {
            loop {
                if let Some(status) = self.known.get(id).filter(|status| status.state() == state) {
                    return status.clone();
                }
                for status in self.reports.batch().await {
                    self.known.insert(status.task_id.clone(), status);
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("reported in time")
    }

    async fn until(&self, what: impl Fn(&Memory) -> bool) {
        let wait = async {
            while !what(&self.world) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("happens in time");
    }
}

fn task(id: &str, desired: TaskState, state: TaskState) -> TaskAssignment {
    TaskAssignment {
        task_id: id.into(),
        desired_state: desired.into(),
        state: state.into(),
        ..TaskAssignment::default()
    }
}

fn wanted(id: &str) -> TaskAssignment {
    task(id, TaskState::Running, TaskState::Assigned)
}

#[tokio::test]
async fn a_task_runs_and_its_exit_is_reported() {
    let mut bench = Bench::new(Memory::default());
    bench.whole(vec![wanted("a")]).await;
    assert_eq!(bench.reported("a", TaskState::Running).await.pid, 9);
    bench.world.set(
        "a",
        Seen::Exited(Ended { code: 3, out_of_memory: false, reason: None, taken_down: false, at_ms: 77 }),
    );
    bench.handle.touch("a".into()).await;
    let status = bench.reported("a", TaskState::Failed).await;
    assert_eq!((status.exit_code, status.at_ms, status.error.as_str()), (Some(3), 77, "exited with code 3"));
}

#[tokio::test]
async fn a_rejection_says_why() {
    let mut bench = Bench::new(Memory::default());
    let mut bad = wanted("a");
    bad.container = Some(proto::v1::ContainerSpec { image: "bad".into(), ..Default::default() });
    bench.whole(vec![bad]).await;
    assert_eq!(bench.reported("a", TaskState::Rejected).await.error, "image bad not found");
}

#[tokio::test]
async fn a_defect_in_one_preparation_rejects_that_task_alone() {
    let mut bench = Bench::new(Memory::default());
    let broken = TaskAssignment { service_name: "broken".into(), ..wanted("a") };
    bench.whole(vec![broken, wanted("b")]).await;
    assert!(bench.reported("a", TaskState::Rejected).await.error.contains("abnormally"));
    bench.reported("b", TaskState::Running).await;
}

#[tokio::test]
async fn adopted_containers_are_left_alone_until_the_controller_was_heard() {
    let world = Memory::default();
    world.set("a", Seen::Running { address: None, pid: 1 });
    world.set(
        "b",
        Seen::Exited(Ended { code: 7, out_of_memory: false, reason: None, taken_down: false, at_ms: 5 }),
    );
    world.set("stranger", Seen::Running { address: None, pid: 2 });
    let mut bench = Bench::new(world);
    bench.handle.touch("a".into()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(bench.world.done.lock().unwrap().is_empty());
    let running = |id| task(id, TaskState::Running, TaskState::Running);
    bench.whole(vec![running("a"), running("b")]).await;
    let status = bench.reported("b", TaskState::Failed).await;
    assert_eq!((status.exit_code, status.at_ms), (Some(7), 5));
    bench.until(|world| world.see("stranger") == Seen::Absent).await;
    assert_eq!(*bench.world.done.lock().unwrap(), ["stop stranger", "remove stranger"]);
    assert_eq!(bench.world.see("a"), Seen::Running { address: None, pid: 1 });
}

#[tokio::test]
async fn what_the_controller_has_not_heard_is_reported_again() {
    let mut bench = Bench::new(Memory::default());
    bench.whole(vec![wanted("a")]).await;
    bench.reported("a", TaskState::Running).await;
    // A new session, whose controller never got that report.
    bench.known.clear();
    bench.whole(vec![wanted("a")]).await;
    bench.reported("a", TaskState::Running).await;
    // And one that did: nothing is said again.
    bench.whole(vec![task("a", TaskState::Running, TaskState::Running)]).await;
    let silence = tokio::time::timeout(Duration::from_millis(200), bench.reports.batch()).await;
    assert!(silence.is_err(), "{silence:?}");
}

#[tokio::test]
async fn a_pull_that_is_not_wanted_any_more_is_given_up() {
    let mut bench = Bench::new(Memory { pull: Duration::from_secs(3600), ..Memory::default() });
    bench.whole(vec![wanted("a")]).await;
    bench.until(|world| world.preparing.load(Ordering::SeqCst) == 1).await;
    bench.whole(vec![task("a", TaskState::Remove, TaskState::Preparing)]).await;
    bench.reported("a", TaskState::Shutdown).await;
    assert_eq!(*bench.world.done.lock().unwrap(), ["cancel a"]);
}

#[tokio::test]
async fn a_removal_that_fails_is_tried_again_before_it_is_reported() {
    let world = Memory { stuck: AtomicUsize::new(1), ..Memory::default() };
    world.set("a", Seen::Running { address: None, pid: 1 });
    let mut bench = Bench::new(world);
    bench.whole(vec![task("a", TaskState::Remove, TaskState::Running)]).await;
    bench.reported("a", TaskState::Shutdown).await;
    assert_eq!(*bench.world.done.lock().unwrap(), ["stop a", "remove a"]);
}

#[tokio::test]
async fn preparations_are_bounded() {
    let world = Memory { pull: Duration::from_millis(20), ..Memory::default() };
    let mut bench = Bench::new(world);
    let tasks: Vec<_> = (0..60).map(|number| wanted(&format!("t{number}"))).collect();
    bench.whole(tasks).await;
    for number in 0..60 {
        bench.reported(&format!("t{number}"), TaskState::Running).await;
    }
    let most = bench.world.most_preparing.load(Ordering::SeqCst);
    assert!(most > 1 && most <= PREPARATIONS, "{most}");
}

#[tokio::test]
async fn a_removed_assignment_leaves_nothing() {
    let mut bench = Bench::new(Memory::default());
    bench.whole(vec![wanted("a"), wanted("b")]).await;
    bench.reported("a", TaskState::Running).await;
    bench.reported("b", TaskState::Running).await;
    bench.handle.assign(Change::Part { update: vec![], remove: vec!["a".into(), "unknown".into()] }).await;
    bench.until(|world| world.see("a") == Seen::Absent).await;
    assert!(matches!(bench.world.see("b"), Seen::Running { .. }));
}
