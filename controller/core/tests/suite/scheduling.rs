//! Where tasks go, and what is said when they cannot go anywhere.

use std::collections::BTreeMap;

use controller_core::{Change, Command, NodeDescription, schedule};

use crate::cluster::{Cluster, NODE, spec};

fn per_node(cluster: &Cluster) -> Vec<usize> {
    let mut counts: BTreeMap<_, usize> = cluster.state.nodes().map(|node| (node.id, 0)).collect();
    for node in cluster.state.tasks().filter_map(|task| task.node) {
        *counts.entry(node).or_default() += 1;
    }
    counts.into_values().collect()
}

fn words(cluster: &Cluster) -> Vec<String> {
    cluster.state.unplaced_tasks().map(|task| task.message.clone()).collect()
}

#[test]
fn tasks_of_a_service_spread_evenly() {
    let mut cluster = Cluster::new(3);
    cluster.create(spec("web", 6, 0));
    cluster.settle();
    assert_eq!(per_node(&cluster), [2, 2, 2]);
}

#[test]
fn of_nodes_with_equally_many_tasks_of_the_service_the_emptiest_is_chosen() {
    let mut cluster = Cluster::new(4);
    for name in ["a", "b", "c", "d"] {
        cluster.create(spec(name, 1, 0));
        cluster.settle();
    }
    assert_eq!(per_node(&cluster), [1, 1, 1, 1]);
}

#[test]
fn spreading_a_service_comes_before_filling_empty_nodes() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("other", 9, 0));
    cluster.settle();
    cluster.join("n2", NODE);
    cluster.create(spec("web", 2, 0));
    cluster.settle();
    let web = cluster.service("web").id;
    let nodes: std::collections::BTreeSet<_> =
        cluster.state.tasks_of_service(&web).map(|task| task.node).collect();
    assert_eq!(nodes.len(), 2);
}

#[test]
fn a_node_is_filled_to_the_last_byte_and_no_further() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 5, 256 << 20));
    cluster.settle();
    assert_eq!(per_node(&cluster), [4]);
    assert_eq!(words(&cluster), ["no suitable node: 1 of 1 nodes lacks memory (256 MiB wanted)"]);
}

#[test]
fn a_cluster_without_nodes_says_so() {
    let mut cluster = Cluster::empty();
    cluster.create(spec("web", 1, 0));
    cluster.settle();
    assert_eq!(words(&cluster), ["no suitable node: the cluster has no nodes"]);
}

#[test]
fn the_reason_of_most_nodes_comes_first() {
    let mut cluster = Cluster::new(3);
    cluster.connect("n3", false);
    cluster.settle();
    cluster.create(spec("web", 1, 2 << 30));
    cluster.settle();
    let text = "no suitable node: 2 of 3 nodes lack memory (2 GiB wanted); 1 of 3 nodes is down";
    assert_eq!(words(&cluster), [text]);
}

#[test]
fn constraints_are_kept() {
    let mut cluster = Cluster::new(2);
    let labels = BTreeMap::from([("zone".to_owned(), "b".to_owned())]);
    let far =
        cluster.join_with("n3", NodeDescription { capacity: NODE, labels, ..NodeDescription::default() });
    let mut web = spec("web", 4, 0);
    web.container.placement_constraints = vec!["node.labels.zone==b".into()];
    cluster.create(web);
    cluster.settle();
    assert!(cluster.state.tasks().all(|task| task.node == Some(far)));
}

#[test]
fn a_waiting_task_is_placed_when_room_appears() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("big", 1, 1 << 30));
    cluster.settle();
    cluster.create(spec("web", 1, 1 << 30));
    cluster.settle();
    assert_eq!(cluster.running("web"), 0);
    cluster.remove("big");
    cluster.settle();
    assert_eq!(cluster.running("web"), 1);
}

#[test]
fn a_pass_stays_within_its_budget() {
    let mut cluster = Cluster::empty();
    cluster.create(spec("web", 9, 0));
    cluster.settle();
    cluster.control = controller_core::Control::new();
    cluster.join("n1", NODE);
    let plan = schedule::plan(&cluster.state, 4);
    assert_eq!((plan.changes.len(), plan.complete), (4, false));
    let plan = schedule::plan(&cluster.state, 100);
    assert_eq!((plan.changes.len(), plan.complete), (9, true));
}

#[test]
fn a_placement_that_no_longer_fits_is_left_out() {
    let mut cluster = Cluster::new(1);
    cluster.control = controller_core::Control::new();
    let node = cluster.node("n1").id;
    cluster.create(spec("web", 2, 600 << 20));
    let service = cluster.service("web").id;
    let tasks = [cluster.ids.task(), cluster.ids.task()];
    let mut changes = Vec::new();
    for (task, slot) in tasks.into_iter().zip(1..) {
        let desired = controller_core::Desired::Running;
        changes.push(Change::Create { task, service, slot, desired, failures: 0 });
        changes.push(Change::Place { task, node });
    }
    let (base, at) = (cluster.state.plan_seal(), cluster.now);
    cluster.must(&Command::Plan(controller_core::Plan { base, seal: 9, at, changes }));
    assert_eq!(cluster.state.usage(&node).tasks, 1);
}
