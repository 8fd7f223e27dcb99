//! Tasks and updates over time: what the scripts do not show at a glance.

use std::time::Duration;

use controller_core::{
    Command, Desired, Input, NodeStatus, TaskState, Timestamp, UpdateState,
    assign::{assignments, diff},
    reconcile::reaper,
};

use crate::{
    agent::{Behaviour, status},
    cluster::{Cluster, spec},
};

#[test]
fn the_count_of_failures_survives_a_change_of_leader() {
    let attempts = |change_leader: bool| {
        let mut cluster = Cluster::new(1);
        cluster.images.insert("bad".into(), Behaviour::Crash);
        let mut web = spec("web", 1, 0);
        web.container.image = "bad".into();
        cluster.create(web);
        for _ in 0..60 {
            cluster.run(Duration::from_secs(1));
            if change_leader {
                cluster.change_leader();
            }
        }
        cluster.state.tasks().map(|task| task.failures).max()
    };
    // At 0, 0, 1, 3, 7, 15, 31 seconds and a little: the seventh attempt is the last within a minute.
    assert_eq!(attempts(false), Some(6));
    assert_eq!(attempts(true), Some(6));
}

#[test]
fn a_leader_that_was_stopped_or_whose_clock_was_set_blames_no_node() {
    let mut cluster = Cluster::new(2);
    cluster.create(spec("web", 4, 0));
    cluster.settle();
    let before: Vec<_> = cluster.state.tasks().map(|task| task.id).collect();
    for jump in [60_000, -30_000, 5_000] {
        cluster.now = Timestamp(cluster.now.0.saturating_add_signed(jump));
        cluster.run(Duration::from_secs(20));
        assert!(cluster.state.nodes().all(|node| node.status == NodeStatus::Ready), "after {jump} ms");
        assert_eq!(cluster.state.tasks().map(|task| task.id).collect::<Vec<_>>(), before, "after {jump} ms");
    }
}

#[test]
fn a_leader_whose_clock_is_behind_paces_restarts_and_notices_a_failing_update() {
    let mut cluster = Cluster::new(1);
    cluster.images.insert("bad".into(), Behaviour::Crash);
    cluster.now = Timestamp(1_000_000);
    cluster.create(spec("web", 1, 0));
    cluster.settle();
    cluster.update("web", |spec| spec.container.image = "bad".into());
    cluster.now = Timestamp(cluster.now.0 - 5_000);
    cluster.change_leader();
    cluster.settle();
    assert_eq!(cluster.service("web").update.state, UpdateState::RolledBack);
    let mut flaky = spec("flaky", 1, 0);
    flaky.container.image = "bad".into();
    cluster.create(flaky);
    cluster.run(Duration::from_secs(3));
    cluster.now = Timestamp(cluster.now.0 - 2_000);
    cluster.change_leader();
    let before = cluster.state.tasks().map(|task| task.failures).max();
    cluster.run(Duration::from_millis(500));
    assert_eq!(cluster.state.tasks().map(|task| task.failures).max(), before, "no attempt came early");
}

#[test]
fn history_is_bounded_per_slot() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 1, 0));
    for _ in 0..9 {
        cluster.run(Duration::from_secs(40));
        let task =
            cluster.state.tasks().find(|task| task.state == TaskState::Running).expect("it runs").clone();
        let agent = cluster.agents.get_mut(&task.node.expect("it has a node")).expect("an agent");
        agent.doomed.insert(task.id);
    }
    cluster.settle();
    assert_eq!(cluster.state.tasks().filter(|task| task.state.is_finished()).count(), reaper::HISTORY);
    assert_eq!(cluster.running("web"), 1);
}

#[test]
fn a_failed_task_stays_with_its_node_until_it_is_forgotten() {
    let mut cluster = Cluster::new(1);
    cluster.images.insert("good".into(), Behaviour::Reject);
    cluster.create(spec("web", 1, 0));
    cluster.run(Duration::from_secs(1));
    let node = cluster.node("n1").id;
    let failed = cluster
        .state
        .tasks()
        .find(|task| task.state == TaskState::Rejected)
        .expect("it was rejected")
        .clone();
    assert!(assignments(&cluster.state, &node).tasks.contains_key(&failed.id));
    cluster.remove("web");
    cluster.settle();
    assert!(assignments(&cluster.state, &node).tasks.is_empty());
}

#[test]
fn tasks_replaced_while_a_node_was_down_are_stopped_when_it_is_back() {
    let mut cluster = Cluster::new(2);
    cluster.create(spec("web", 2, 0));
    cluster.settle();
    cluster.connect("n1", false);
    cluster.run(Duration::from_secs(10));
    assert_eq!(cluster.node("n1").status, NodeStatus::Down);
    assert_eq!(cluster.running("web"), 2);
    let node = cluster.node("n1").id;
    let wanted: Vec<_> = assignments(&cluster.state, &node).tasks.into_values().map(|a| a.desired).collect();
    assert_eq!(wanted, [Desired::Shutdown]);
    cluster.connect("n1", true);
    cluster.settle();
    assert_eq!(cluster.node("n1").status, NodeStatus::Ready);
    assert!(assignments(&cluster.state, &node).tasks.is_empty());
    assert_eq!(cluster.running("web"), 2);
}

#[test]
fn a_node_is_given_time_to_find_a_new_leader() {
    let mut cluster = Cluster::new(1);
    cluster.run(Duration::from_secs(2));
    cluster.connect("n1", false);
    cluster.change_leader();
    cluster.run(Duration::from_secs(14));
    assert_eq!(cluster.node("n1").status, NodeStatus::Ready);
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.node("n1").status, NodeStatus::Down);
}

#[test]
fn a_task_of_a_node_that_stays_down_for_a_day_is_given_up() {
    let mut cluster = Cluster::new(2);
    cluster.create(spec("web", 2, 0));
    cluster.settle();
    cluster.connect("n1", false);
    cluster.run(Duration::from_secs(10));
    cluster.now = cluster.now.plus(Duration::from_secs(24 * 3600));
    let alive = cluster.node("n2").id;
    cluster.input(Input::Heartbeat { node: alive });
    cluster.input(Input::Tick);
    assert!(cluster.state.tasks().any(|task| task.state == TaskState::Orphaned));
}

#[test]
fn an_update_never_runs_two_tasks_in_a_slot() {
    let mut cluster = Cluster::new(2);
    cluster.create(spec("web", 4, 0));
    cluster.settle();
    cluster.update("web", |spec| spec.container.image = "better".into());
    for _ in 0..200 {
        cluster.turn();
        let id = cluster.service("web").id;
        for slot in 1..=4 {
            let alive = |state| TaskState::Starting <= state && state <= TaskState::Running;
            let running = cluster.state.tasks_in_slot(&id, slot).filter(|task| alive(task.state)).count();
            assert!(running <= 1, "slot {slot} runs {running}");
        }
    }
    assert_eq!(cluster.service("web").update.state, UpdateState::Completed);
}

#[test]
fn an_update_takes_down_no_more_slots_than_its_parallelism() {
    for parallelism in [1, 3] {
        let mut cluster = Cluster::new(2);
        let mut web = spec("web", 8, 0);
        web.update.parallelism = parallelism;
        cluster.create(web);
        cluster.settle();
        cluster.update("web", |spec| spec.container.image = "better".into());
        let mut fewest = 8;
        while cluster.service("web").update.state == UpdateState::Updating {
            cluster.turn();
            fewest = fewest.min(cluster.running("web"));
        }
        assert!(fewest >= 8 - parallelism as usize, "{fewest} of 8 ran with parallelism {parallelism}");
    }
}

#[test]
fn an_update_ends_as_evenly_spread_as_it_began() {
    let mut cluster = Cluster::new(3);
    cluster.create(spec("web", 9, 0));
    cluster.settle();
    cluster.update("web", |spec| spec.container.image = "better".into());
    cluster.settle();
    assert!(cluster.state.nodes().all(|node| cluster.state.usage(&node.id).tasks == 3));
}

#[test]
fn a_newer_specification_supersedes_an_update_under_way() {
    let mut cluster = Cluster::new(2);
    cluster.create(spec("web", 5, 0));
    cluster.settle();
    cluster.update("web", |spec| spec.container.image = "second".into());
    cluster.run(Duration::from_secs(2));
    cluster.update("web", |spec| spec.container.image = "third".into());
    cluster.settle();
    let wanted: Vec<_> = cluster.state.tasks().filter(|task| task.is_wanted()).collect();
    assert_eq!(wanted.len(), 5);
    assert!(wanted.iter().all(|task| task.spec.container.image == "third"));
}

#[test]
fn a_rollback_returns_to_the_last_revision_that_was_good() {
    let mut cluster = Cluster::new(2);
    cluster.images.insert("bad".into(), Behaviour::Crash);
    cluster.create(spec("web", 3, 0));
    cluster.settle();
    cluster.update("web", |spec| spec.container.image = "second".into());
    cluster.turn();
    cluster.update("web", |spec| spec.container.image = "bad".into());
    cluster.settle();
    assert_eq!(cluster.service("web").update.state, UpdateState::RolledBack);
    assert_eq!(cluster.service("web").spec.container.image, "good");
    assert_eq!(cluster.running("web"), 3);
}

#[test]
fn an_update_without_room_beside_the_old_task_stops_it_first() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 1, 900 << 20));
    cluster.settle();
    cluster.update("web", |spec| spec.container.image = "better".into());
    cluster.settle();
    assert_eq!(cluster.service("web").update.state, UpdateState::Completed);
}

#[test]
fn an_update_that_fits_nowhere_leaves_the_old_task_alone() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 1, 0));
    cluster.settle();
    cluster.update("web", |spec| spec.container.reservations.memory_bytes = 2 << 30);
    cluster.settle();
    assert_eq!(cluster.running("web"), 1);
    assert_eq!(cluster.service("web").update.state, UpdateState::Updating);
}

#[test]
fn changing_only_the_replicas_replaces_nothing() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 2, 0));
    cluster.settle();
    let before: Vec<_> = cluster.state.tasks().map(|task| task.id).collect();
    cluster.update("web", |spec| spec.replicas = 3);
    cluster.settle();
    assert!(before.iter().all(|id| cluster.state.task(id).is_some_and(|task| task.is_wanted())));
    assert_eq!(cluster.service("web").update.state, UpdateState::None);
}

#[test]
fn a_node_speaks_for_its_own_tasks_only() {
    let mut cluster = Cluster::new(2);
    cluster.create(spec("web", 1, 0));
    cluster.settle();
    let task = cluster.state.tasks().next().expect("it has a task").clone();
    let stranger = *cluster.agents.keys().find(|id| Some(**id) != task.node).expect("there are two");
    let statuses = vec![status(task.id, TaskState::Failed)];
    assert_eq!(cluster.input(Input::Report { node: stranger, statuses: statuses.clone() }), 0);
    let reports = vec![controller_core::NodeReport { node: stranger, statuses }];
    let at = cluster.now;
    assert_eq!(cluster.apply(&Command::ReportTasks { reports, at }), []);
}

#[test]
fn a_long_error_is_cut_and_reported_once() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 1, 0));
    cluster.settle();
    let task = cluster.state.tasks().next().expect("it has a task").clone();
    let mut long = status(task.id, TaskState::Running);
    long.pid = 100;
    long.message = "ä".repeat(5000);
    let report = Input::Report { node: task.node.expect("it is placed"), statuses: vec![long] };
    assert_eq!(cluster.input(report.clone()), 1);
    assert_eq!(cluster.input(report), 0);
    assert_eq!(cluster.state.task(&task.id).map(|task| task.message.len()), Some(1024));
}

#[test]
fn what_an_agent_said_itself_is_not_sent_back_to_it() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 2, 0));
    cluster.input(Input::Tick);
    let node = cluster.node("n1").id;
    let before = assignments(&cluster.state, &node);
    cluster.settle();
    let after = assignments(&cluster.state, &node);
    assert_ne!(before, after);
    assert!(diff(&before, &after).is_empty());
    cluster.update("web", |spec| spec.replicas = 1);
    cluster.settle();
    let least = assignments(&cluster.state, &node);
    assert_eq!((diff(&after, &least).update.len(), diff(&after, &least).remove.len()), (0, 1));
}
