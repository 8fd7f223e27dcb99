//! Plans that no leader would make: whatever is in one, carrying it out breaks nothing.

use std::time::Duration;

use controller_core::{Change, Command, Desired, NodeId, NodeStatus, Plan, Progress, ServiceId, TaskId};
use proptest::prelude::*;

use crate::cluster::{Cluster, spec};

/// A change in which objects are picked by number from those that exist.
#[derive(Clone, Debug)]
struct Wild {
    kind: u8,
    task: usize,
    service: usize,
    node: usize,
    slot: u32,
    desired: u8,
}

fn wild() -> impl Strategy<Value = Wild> {
    let picks = (any::<usize>(), any::<usize>(), any::<usize>());
    (0..8_u8, picks, 0..6_u32, 0..4_u8).prop_map(|(kind, (task, service, node), slot, desired)| Wild {
        kind,
        task,
        service,
        node,
        slot,
        desired,
    })
}

/// Three nodes, two services with reservations, one of them in the middle of an update.
fn busy() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.create(spec("web", 4, 300 << 20));
    cluster.create(spec("api", 3, 200 << 20));
    cluster.settle();
    cluster.update("web", |spec| spec.container.image = "better".into());
    cluster.run(Duration::from_millis(300));
    cluster.connect("n3", false);
    cluster.run(Duration::from_secs(7));
    cluster
}

impl Wild {
    fn change(&self, cluster: &mut Cluster) -> Change {
        let tasks: Vec<TaskId> = cluster.state.tasks().map(|task| task.id).collect();
        let services: Vec<ServiceId> = cluster.state.services().map(|service| service.id).collect();
        let nodes: Vec<NodeId> = cluster.state.nodes().map(|node| node.id).collect();
        let (task, node) = (tasks[self.task % tasks.len()], nodes[self.node % nodes.len()]);
        let service = services[self.service % services.len()];
        let desired = [Desired::Ready, Desired::Running, Desired::Shutdown, Desired::Remove];
        let desired = desired[usize::from(self.desired)];
        match self.kind {
            0 => {
                let status = if self.slot > 2 { NodeStatus::Down } else { NodeStatus::Ready };
                Change::Node { node, status, message: String::new() }
            }
            1 => {
                let (task, slot) =
                    (if self.task.is_multiple_of(5) { task } else { cluster.ids.task() }, self.slot);
                Change::Create { task, service, slot, desired, failures: 0 }
            }
            2 => Change::Desire { task, desired },
            3 => Change::Place { task, node },
            4 => Change::Say { task, message: "something".into() },
            5 => Change::Orphan { task },
            6 => Change::Forget { task },
            _ => {
                let spec_version = cluster.state.service(&service).map_or(0, |service| service.spec_version);
                let message = String::new();
                let all = [
                    Progress::Done,
                    Progress::Pause { message: message.clone() },
                    Progress::RollBack { message },
                ];
                let progress = all[self.slot as usize % 3].clone();
                Change::Update { service, spec_version, progress }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_however_wrong_breaks_an_invariant(wild in prop::collection::vec(prop::collection::vec(wild(), 1..12), 1..12)) {
        let mut cluster = busy();
        for (seal, changes) in (1..).zip(wild) {
            let changes = changes.iter().map(|wild| wild.change(&mut cluster)).collect();
            let (base, at) = (cluster.state.plan_seal(), cluster.now);
            // `must` checks every invariant afterwards.
            cluster.must(&Command::Plan(Plan { base, seal, at, changes }));
        }
    }
}
