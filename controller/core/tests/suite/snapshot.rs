//! A State that was stored and read again is the same, and goes on the same.

use std::{sync::Arc, time::Duration};

use controller_core::{State, TaskState};

use crate::cluster::{Cluster, spec};

fn stored(state: &State) -> State {
    let text = serde_json::to_string(state).expect("a State can be stored");
    serde_json::from_str(&text).expect("a stored State can be read")
}

#[test]
fn a_stored_state_is_the_same_and_breaks_no_rule() {
    let mut cluster = Cluster::new(2);
    cluster.create(spec("web", 4, 1 << 20));
    cluster.run(Duration::from_secs(1));
    cluster.update("web", |spec| spec.container.image = "better".into());
    cluster.run(Duration::from_secs(1));
    let read = stored(&cluster.state);
    assert_eq!(read, cluster.state);
    assert_eq!(read.check(), []);
    for node in cluster.state.nodes() {
        assert_eq!(read.usage(&node.id), cluster.state.usage(&node.id));
    }
}

#[test]
fn a_cluster_goes_on_from_a_stored_state() {
    let mut cluster = Cluster::new(2);
    cluster.create(spec("web", 4, 0));
    cluster.run(Duration::from_millis(300));
    cluster.state = stored(&cluster.state);
    cluster.control = controller_core::Control::new();
    cluster.input(controller_core::Input::BecameLeader);
    cluster.settle();
    assert_eq!(cluster.running("web"), 4);
}

#[test]
fn tasks_share_their_revision_again_after_reading() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 2, 0));
    cluster.settle();
    let read = stored(&cluster.state);
    let specs: Vec<_> =
        read.tasks().filter(|task| task.state == TaskState::Running).map(|task| &task.spec).collect();
    assert!(Arc::ptr_eq(specs[0], specs[1]));
}

#[test]
fn a_dump_without_a_revision_is_refused() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 1, 0));
    cluster.settle();
    let mut value = serde_json::to_value(&cluster.state).expect("a State can be stored");
    value["revisions"] = serde_json::json!([]);
    let error = serde_json::from_value::<State>(value).expect_err("the revision is missing");
    assert!(error.to_string().contains("which the dump does not hold"), "{error}");
}

#[test]
fn a_clone_does_not_see_later_writes() {
    let mut cluster = Cluster::new(1);
    let before = cluster.state.clone();
    cluster.create(spec("web", 1, 0));
    assert!(before.service_by_name("web").is_none() && cluster.state.service_by_name("web").is_some());
}
