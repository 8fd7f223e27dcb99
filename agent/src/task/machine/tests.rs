//! Properties of [`super::step`], over a fake world in which each piece of work
//! succeeds, fails, or is undone by somebody else.

use proptest::prelude::*;

use super::*;

/// A container that does as it is told, unless the script says otherwise.
struct World {
    task: Task,
    observed: Observed,
    now: u64,
    history: Vec<TaskState>,
    work: Vec<Action>,
    forgotten: bool,
}

impl World {
    fn new(state: TaskState, container: Seen) -> Self {
        let observed = Observed { container, fault: None, retry_at_ms: None };
        Self { task: Task { state }, observed, now: 0, history: vec![state], work: vec![], forgotten: false }
    }

    /// Moves until there is nothing to do; answers the number of moves.
    fn settle(&mut self, desired: Desired, mut works: impl FnMut(&Action) -> bool) -> usize {
        for moves in 0..100 {
            let action = step(&self.task, desired, &self.observed, self.now);
            self.now += 1;
            match action {
                Action::Wait => return moves,
                Action::Forget => {
                    self.forgotten = true;
                    return moves;
                }
                Action::WaitUntil(at) => self.now = at,
                Action::Advance(status) => {
                    self.task.state = status.state;
                    self.history.push(status.state);
                }
                work => {
                    let done = works(&work);
                    self.perform(&work, done);
                    self.work.push(work);
                }
            }
        }
        panic!("it never settles: {:?} {:?}", self.history, self.work);
    }

    fn perform(&mut self, work: &Action, done: bool) {
        self.observed.retry_at_ms = None;
        let before = &self.observed.container;
        match (work, done) {
            (Action::Prepare, true) => {
                assert_eq!(*before, Seen::Absent, "prepared twice");
                self.observed.container = Seen::Created;
            }
            (Action::Start, true) => {
                assert_eq!(*before, Seen::Created, "started what cannot be started");
                self.observed.container = Seen::Running { address: Some(Ipv4Addr::LOCALHOST), pid: 7 };
            }
            (Action::Stop, true) => {
                assert!(matches!(before, Seen::Running { .. }), "stopped what does not run");
                self.observed.container = exited(143);
            }
            (Action::Remove, true) => {
                assert!(!matches!(before, Seen::Running { .. } | Seen::Absent), "removed {before:?}");
                self.observed.container = Seen::Absent;
            }
            (Action::Stop | Action::Remove, false) => self.observed.retry_at_ms = Some(self.now + 500),
            (_, false) => self.observed.fault = Some("it broke".to_owned()),
            (other, true) => panic!("{other:?} is no work"),
        }
    }
}

fn exited(code: i32) -> Seen {
    Seen::Exited(Ended { code, out_of_memory: false, reason: None, taken_down: false, at_ms: 5 })
}

fn always(_: &Action) -> bool {
    true
}

#[test]
fn a_new_task_goes_through_every_state_to_running() {
    let mut world = World::new(TaskState::Assigned, Seen::Absent);
    world.settle(Desired::Running, always);
    use TaskState::*;
    assert_eq!(world.history, [Assigned, Accepted, Preparing, Ready, Starting, Running]);
    assert_eq!(world.work, [Action::Prepare, Action::Start]);
}

#[test]
fn ready_is_a_pause_point() {
    let mut world = World::new(TaskState::Assigned, Seen::Absent);
    world.settle(Desired::Ready, always);
    assert_eq!(world.task.state, TaskState::Ready);
    assert_eq!(world.observed.container, Seen::Created);
    world.settle(Desired::Running, always);
    assert_eq!(world.task.state, TaskState::Running);
}

#[test]
fn what_cannot_be_prepared_is_rejected_and_what_cannot_be_started_fails() {
    for (broken, state) in [(Action::Prepare, TaskState::Rejected), (Action::Start, TaskState::Failed)] {
        let mut world = World::new(TaskState::Assigned, Seen::Absent);
        world.settle(Desired::Running, |work| *work != broken);
        assert_eq!(world.task.state, state);
        assert_eq!(world.work.last(), Some(&broken), "nothing is tried after the failure");
    }
}

#[test]
fn an_exit_while_nobody_watched_is_reported_with_its_code() {
    for (code, state) in [(0, TaskState::Complete), (3, TaskState::Failed), (137, TaskState::Failed)] {
        let task = Task { state: TaskState::Running };
        let observed = Observed { container: exited(code), fault: None, retry_at_ms: None };
        let Action::Advance(status) = step(&task, Desired::Running, &observed, 99) else {
            panic!("no report")
        };
        assert_eq!((status.state, status.exit_code, status.at_ms), (state, Some(code), 5));
    }
}

#[test]
fn a_running_container_is_left_alone() {
    let mut world = World::new(TaskState::Running, Seen::Running { address: None, pid: 1 });
    assert_eq!(world.settle(Desired::Running, always), 0);
    assert!(world.work.is_empty());
}

#[test]
fn removal_is_reported_only_when_nothing_is_left() {
    let mut world = World::new(TaskState::Running, Seen::Running { address: None, pid: 1 });
    world.settle(Desired::Remove, |work| {
        assert!(matches!(work, Action::Stop | Action::Remove));
        true
    });
    assert_eq!(world.observed.container, Seen::Absent);
    assert_eq!(world.history, [TaskState::Running, TaskState::Shutdown]);
}

#[test]
fn a_stopped_task_keeps_its_container_for_its_log() {
    let mut world = World::new(TaskState::Running, Seen::Running { address: None, pid: 1 });
    world.settle(Desired::Shutdown, always);
    assert_eq!(world.observed.container, exited(143));
    assert_eq!(world.task.state, TaskState::Shutdown);
}

#[test]
fn the_pause_between_tries_grows_to_sixteen_seconds() {
    assert_eq!(retry_pause(1), Duration::from_millis(500));
    assert_eq!(retry_pause(2), Duration::from_secs(1));
    assert_eq!(retry_pause(1000), Duration::from_secs(16));
}

fn states() -> impl Strategy<Value = TaskState> {
    use TaskState::*;
    prop::sample::select(vec![
        Assigned, Accepted, Preparing, Ready, Starting, Running, Complete, Shutdown, Failed, Rejected,
        Orphaned,
    ])
}

fn containers() -> impl Strategy<Value = Seen> {
    prop_oneof![
        Just(Seen::Absent),
        Just(Seen::Created),
        Just(Seen::Running { address: None, pid: 2 }),
        (0..200i32).prop_map(exited),
    ]
}

fn wishes() -> impl Strategy<Value = Desired> {
    prop::sample::select(vec![Desired::Ready, Desired::Running, Desired::Shutdown, Desired::Remove])
}

proptest! {
    /// Whatever is wanted in whatever order, whatever fails, and whoever meddles
    /// with the container: the state never goes back and never skips an end.
    #[test]
    fn the_state_never_goes_back(
        state in states(),
        container in containers(),
        script in prop::collection::vec((wishes(), prop::option::of(containers()), any::<u16>()), 1..8),
    ) {
        let mut world = World::new(state, container);
        for (desired, meddled, failures) in script {
            if let Some(container) = meddled {
                world.observed.container = container;
            }
            // At most 16 failures in a row, so that it can settle.
            let mut coins = failures;
            world.settle(desired, |_| {
                let works = coins & 1 == 0;
                coins >>= 1;
                works
            });
        }
        prop_assert!(world.history.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", world.history);
        let ends = world.history.iter().skip(1).filter(|state| **state >= TaskState::Complete).count();
        prop_assert!(ends <= 1, "{:?}", world.history);
    }

    /// From anywhere, what is wanted is reached within a few moves, or an end is.
    #[test]
    fn every_wish_is_reached(state in states(), container in containers(), desired in wishes()) {
        let mut world = World::new(state, container);
        let moves = world.settle(desired, always);
        prop_assert!(moves <= 8);
        let runs = matches!(world.observed.container, Seen::Running { .. });
        let ended = world.task.state >= TaskState::Complete;
        match desired {
            Desired::Running => prop_assert!(ended || (runs && world.task.state == TaskState::Running)),
            Desired::Ready => prop_assert!(ended || world.task.state >= TaskState::Ready),
            Desired::Shutdown => prop_assert!(ended && !runs),
            _ => prop_assert!(ended && world.observed.container == Seen::Absent),
        }
        prop_assert!(!ended || !runs, "ended but it runs");
        // And nothing of it is left when the controller forgets it.
        world.settle(Desired::Forgotten, always);
        prop_assert!(world.forgotten && world.observed.container == Seen::Absent);
    }

    /// A finished task is never prepared or started again.
    #[test]
    fn a_finished_task_is_not_run_again(state in states(), container in containers(), desired in wishes()) {
        prop_assume!(state >= TaskState::Complete);
        let mut world = World::new(state, container);
        world.settle(desired, always);
        prop_assert!(!world.work.iter().any(|work| matches!(work, Action::Prepare | Action::Start)));
    }
}

#[test]
fn what_the_engine_knows_of_an_end_is_told_instead_of_its_code() {
    let lost = "its keeper was lost; it was killed".to_owned();
    let ended =
        Ended { code: 137, out_of_memory: false, reason: Some(lost.clone()), taken_down: false, at_ms: 5 };
    let world = World::new(TaskState::Running, Seen::Exited(ended));
    let action = step(&world.task, Desired::Running, &world.observed, 0);
    let Action::Advance(status) = action else { panic!("an end is recorded, not {action:?}") };
    assert_eq!((status.state, status.error), (TaskState::Failed, lost));
}

#[test]
fn a_task_that_ended_with_its_node_has_not_failed() {
    let reason = Some("the host was restarted while it ran".to_owned());
    let ended = Ended { code: 255, out_of_memory: false, reason, taken_down: true, at_ms: 5 };
    let world = World::new(TaskState::Running, Seen::Exited(ended));
    let action = step(&world.task, Desired::Running, &world.observed, 0);
    let Action::Advance(status) = action else { panic!("an end is recorded, not {action:?}") };
    assert_eq!((status.state, status.exit_code, status.error.as_str()), (TaskState::Shutdown, Some(255), ""));
}
