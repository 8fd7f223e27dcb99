//! Counts that must hold at scale. Counts, not times: they do not depend on the machine's mood.

use controller_core::{Command, Input, NodeId, TaskState};

use crate::{
    agent::status,
    cluster::{Cluster, spec},
};

/// A cluster without the check after each command, which would walk everything each time.
fn drive(cluster: &mut Cluster, input: Input) -> usize {
    let mut entries = 0;
    let mut inputs = vec![input];
    while let Some(input) = inputs.pop() {
        for command in cluster.control.step(&cluster.state, input, cluster.now, &mut cluster.ids) {
            entries += 1;
            controller_core::apply(&mut cluster.state, &command);
            inputs.push(Input::Changed);
        }
    }
    entries
}

#[test]
fn ten_thousand_replicas_on_a_thousand_nodes_take_few_entries() {
    let mut cluster = Cluster::empty();
    cluster.control = controller_core::Control::new();
    for number in 0..1000 {
        let (id, at) = (cluster.ids.node(), cluster.now);
        let name = format!("n{number}");
        let description = controller_core::NodeDescription::default();
        controller_core::apply(
            &mut cluster.state,
            &Command::AdmitNode { id, name, token_hash: "secret".into(), at },
        );
        controller_core::apply(&mut cluster.state, &Command::RegisterNode { id, description, at });
    }
    cluster.create(spec("web", 10_000, 0));
    let mut entries = drive(&mut cluster, Input::BecameLeader);
    assert!(entries <= 5, "{entries} entries placed 10,000 tasks");
    let nodes: Vec<NodeId> = cluster.state.nodes().map(|node| node.id).collect();
    let counts: std::collections::BTreeSet<u32> =
        nodes.iter().map(|node| cluster.state.usage(node).tasks).collect();
    assert_eq!(counts, [10].into(), "they are spread evenly");

    // All agents report while one batch is on its way: the others become the next.
    let mut waiting = Vec::new();
    for node in &nodes {
        let tasks =
            cluster.state.tasks_on_node(node).map(|task| status(task.id, TaskState::Running)).collect();
        let report = Input::Report { node: *node, statuses: tasks };
        waiting.extend(cluster.control.step(&cluster.state, report, cluster.now, &mut cluster.ids));
    }
    for command in waiting {
        entries += 1;
        controller_core::apply(&mut cluster.state, &command);
    }
    entries += drive(&mut cluster, Input::Tick);
    assert_eq!(cluster.running("web"), 10_000);
    assert!(entries <= 20, "{entries} entries in all");
    assert_eq!(cluster.state.check(), []);
}
