//! Control reaches the same end whatever it is told and whatever gets lost on the way, and then keeps quiet.

use std::time::Duration;

use controller_core::{Command, Control, Input, TaskState};

use crate::{
    agent::status,
    cluster::{Cluster, spec},
};

#[test]
fn an_idle_cluster_proposes_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.create(spec("web", 6, 0));
    cluster.create(spec("waiting", 1, 5 << 30));
    cluster.settle();
    let before = cluster.log.len();
    cluster.run(Duration::from_secs(120));
    assert_eq!(cluster.log.len(), before);
}

#[test]
fn reports_that_are_not_news_are_not_proposed() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 1, 0));
    cluster.settle();
    let task = cluster.state.tasks().next().expect("it has a task").clone();
    let node = task.node.expect("it is placed");
    for state in [TaskState::Accepted, TaskState::Ready, TaskState::Running] {
        assert_eq!(cluster.input(Input::Report { node, statuses: vec![status(task.id, state)] }), 0);
    }
}

#[test]
fn ticks_alone_reach_what_events_reach() {
    let end = |told| {
        let mut cluster = Cluster::new(2);
        cluster.told = told;
        cluster.create(spec("web", 5, 100 << 20));
        cluster.run(Duration::from_secs(2));
        cluster.update("web", |spec| spec.container.image = "better".into());
        cluster.settle();
        cluster.state
    };
    assert_eq!(end(true), end(false));
}

#[test]
fn lost_proposals_are_made_again() {
    let mut cluster = Cluster::new(2);
    cluster.deaf = true;
    cluster.create(spec("web", 4, 0));
    cluster.run(Duration::from_secs(3));
    assert_eq!(cluster.state.tasks().count(), 0);
    cluster.deaf = false;
    cluster.settle();
    assert_eq!(cluster.running("web"), 4);
}

#[test]
fn lost_reports_are_made_again() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 1, 0));
    cluster.input(Input::Tick);
    let task = cluster.state.tasks().next().expect("it has a task").clone();
    let node = task.node.expect("it is placed");
    cluster.deaf = true;
    cluster.input(Input::Report { node, statuses: vec![status(task.id, TaskState::Preparing)] });
    cluster.deaf = false;
    cluster.input(Input::Tick);
    assert_eq!(cluster.state.task(&task.id).map(|task| task.state), Some(TaskState::Assigned));
    cluster.now = cluster.now.plus(Duration::from_secs(3));
    cluster.input(Input::Tick);
    assert_eq!(cluster.state.task(&task.id).map(|task| task.state), Some(TaskState::Preparing));
}

#[test]
fn a_plan_that_arrives_twice_is_carried_out_once() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 3, 0));
    cluster.input(Input::Tick);
    let plan =
        cluster.log.iter().rfind(|command| matches!(command, Command::Plan(_))).expect("a plan").clone();
    let before = cluster.state.clone();
    assert_eq!(cluster.refused(&plan).to_string(), "the plan builds on another state");
    assert_eq!(cluster.state, before);
}

#[test]
fn a_plan_of_an_earlier_leader_that_lands_late_does_no_harm() {
    let mut cluster = Cluster::new(2);
    cluster.create(spec("web", 3, 0));
    let mut earlier = Control::new();
    let late = earlier.step(&cluster.state, Input::BecameLeader, cluster.now, &mut cluster.ids).pop();
    cluster.deaf = true;
    cluster.input(Input::Tick);
    cluster.deaf = false;
    cluster.must(&late.expect("the earlier leader has a plan"));
    cluster.settle();
    assert_eq!(cluster.running("web"), 3);
    assert_eq!(cluster.state.tasks().count(), 3);
}

#[test]
fn a_controller_that_does_not_lead_does_nothing() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 1, 0));
    cluster.input(Input::LostLeadership);
    assert_eq!(cluster.input(Input::Tick), 0);
    assert!(!cluster.control.is_leading());
}

#[test]
fn a_node_is_touched_exactly_when_something_of_it_was_written() {
    let mut cluster = Cluster::new(2);
    cluster.create(spec("web", 1, 0));
    cluster.settle();
    let node = cluster.state.tasks().next().and_then(|task| task.node).expect("it is placed");
    let touched = cluster.state.node_touched(&node);
    assert_eq!(cluster.input(Input::Tick), 0);
    assert_eq!(cluster.state.node_touched(&node), touched);
    cluster.remove("web");
    assert_ne!(cluster.state.node_touched(&node), touched);
}
