//! Properties that hold after any sequence of what people, agents, time and leaders may do.

use std::{collections::BTreeMap, time::Duration};

use controller_core::{
    Command, Event, FailureAction, Input, Protocol, PublishedPort, State, TaskId, TaskState, apply,
};
use proptest::prelude::*;

use crate::{
    agent::{Behaviour, status},
    cluster::{Cluster, NODE, spec},
};

/// Something that happens to a cluster.
#[derive(Clone, Debug)]
enum Act {
    Join,
    Create { name: u8, replicas: u32, memory_mib: u64, port: u16 },
    Scale { name: u8, replicas: u32 },
    Update { name: u8, image: u8, pause: bool },
    Remove { name: u8 },
    Kill { pick: usize },
    Report { pick: usize, state: u8 },
    Toggle { node: usize },
    Turns { count: u8 },
    Wait { seconds: u8 },
    NewLeader,
    LoseProposals { lose: bool },
}

const IMAGES: [&str; 4] = ["good", "better", "crash", "reject"];
const STATES: [TaskState; 7] = [
    TaskState::Accepted,
    TaskState::Ready,
    TaskState::Running,
    TaskState::Complete,
    TaskState::Shutdown,
    TaskState::Failed,
    TaskState::Orphaned,
];

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::Join),
        3 => (0..3_u8, 0..6_u32, 0..500_u64, 1..4_u16)
            .prop_map(|(name, replicas, memory_mib, port)| Act::Create { name, replicas, memory_mib, port }),
        2 => (0..3_u8, 0..8_u32).prop_map(|(name, replicas)| Act::Scale { name, replicas }),
        3 => (0..3_u8, 0..4_u8, any::<bool>()).prop_map(|(name, image, pause)| Act::Update { name, image, pause }),
        1 => (0..3_u8).prop_map(|name| Act::Remove { name }),
        2 => any::<usize>().prop_map(|pick| Act::Kill { pick }),
        2 => (any::<usize>(), 0..7_u8).prop_map(|(pick, state)| Act::Report { pick, state }),
        2 => (0..4_usize).prop_map(|node| Act::Toggle { node }),
        6 => (1..12_u8).prop_map(|count| Act::Turns { count }),
        2 => (1..20_u8).prop_map(|seconds| Act::Wait { seconds }),
        1 => Just(Act::NewLeader),
        1 => any::<bool>().prop_map(|lose| Act::LoseProposals { lose }),
    ]
}

fn name(number: u8) -> String {
    format!("s{number}")
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.images =
        BTreeMap::from([("crash".into(), Behaviour::Crash), ("reject".into(), Behaviour::Reject)]);
    cluster
}

fn update(cluster: &mut Cluster, number: u8, change: impl FnOnce(&mut controller_core::ServiceSpec)) {
    if let Some(service) = cluster.state.service_by_name(&name(number)) {
        let (id, version, mut spec, at) = (service.id, service.version, service.spec.clone(), cluster.now);
        change(&mut spec);
        cluster.apply(&Command::UpdateService { id, version, spec, trace: None, at });
    }
}

/// Does one thing. `Cluster::apply` checks every invariant after each command.
fn perform(cluster: &mut Cluster, act: &Act) {
    match act {
        Act::Join if cluster.agents.len() < 4 => {
            cluster.join("n", NODE);
        }
        Act::Create { name: number, replicas, memory_mib, port } => {
            let mut spec = spec(&name(*number), *replicas, memory_mib << 20);
            spec.ports = vec![PublishedPort { protocol: Protocol::Tcp, published: *port, target: 80 }];
            let (id, at) = (cluster.ids.service(), cluster.now);
            cluster.apply(&Command::CreateService { id, spec, trace: None, at });
        }
        Act::Scale { name, replicas } => update(cluster, *name, |spec| spec.replicas = *replicas),
        Act::Update { name, image, pause } => update(cluster, *name, |spec| {
            spec.container.image = IMAGES[usize::from(*image)].into();
            spec.update.failure_action = if *pause { FailureAction::Pause } else { FailureAction::Rollback };
        }),
        Act::Remove { name: number } => {
            if let Some(id) = cluster.state.service_by_name(&name(*number)).map(|service| service.id) {
                cluster.apply(&Command::RemoveService { id, at: cluster.now });
            }
        }
        Act::Kill { pick } => {
            if let Some((task, node)) = pick_placed(cluster, *pick) {
                cluster.agents.get_mut(&node).map(|agent| agent.doomed.insert(task));
            }
        }
        Act::Report { pick, state } => {
            if let Some((task, node)) = pick_placed(cluster, *pick) {
                let statuses = vec![status(task, STATES[usize::from(*state)])];
                cluster.input(Input::Report { node, statuses });
            }
        }
        Act::Toggle { node } => {
            if let Some(agent) = cluster.agents.values_mut().nth(*node) {
                agent.connected = !agent.connected;
                agent.fresh = true;
            }
        }
        Act::Turns { count } => (0..*count).for_each(|_| {
            cluster.turn();
        }),
        Act::Wait { seconds } => cluster.run(Duration::from_secs(u64::from(*seconds))),
        Act::NewLeader => {
            cluster.change_leader();
        }
        Act::LoseProposals { lose } => cluster.deaf = *lose,
        Act::Join => {}
    }
}

fn pick_placed(cluster: &Cluster, pick: usize) -> Option<(TaskId, controller_core::NodeId)> {
    let placed: Vec<_> = cluster.state.tasks().filter_map(|task| Some((task.id, task.node?))).collect();
    placed.get(pick.checked_rem(placed.len())?).copied()
}

/// Everything comes back and nothing fails any more.
fn heal(cluster: &mut Cluster) {
    cluster.deaf = false;
    cluster.images.clear();
    cluster.agents.values_mut().for_each(|agent| {
        agent.connected = true;
        agent.doomed.clear();
    });
    cluster.settle();
}

fn observed(state: &State) -> BTreeMap<TaskId, TaskState> {
    state.tasks().map(|task| (task.id, task.state)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn check_finds_nothing_after_any_sequence_of_commands(acts in prop::collection::vec(act(), 1..25)) {
        let mut cluster = cluster();
        for act in &acts {
            perform(&mut cluster, act);
            prop_assert_eq!(cluster.state.check(), []);
        }
    }

    #[test]
    fn observed_state_only_grows(acts in prop::collection::vec(act(), 1..25)) {
        let mut cluster = cluster();
        let mut before = observed(&cluster.state);
        for act in &acts {
            perform(&mut cluster, act);
            let after = observed(&cluster.state);
            for (task, state) in &before {
                prop_assert!(after.get(task).is_none_or(|now| now >= state));
            }
            before = after;
        }
    }

    #[test]
    fn no_node_is_over_committed(acts in prop::collection::vec(act(), 1..25)) {
        let mut cluster = cluster();
        for act in &acts {
            perform(&mut cluster, act);
            for node in cluster.state.nodes() {
                let held = cluster.state.tasks_on_node(&node.id).filter(|task| !task.state.is_finished());
                let memory: u64 = held.map(|task| task.spec.container.reservations.memory_bytes).sum();
                prop_assert!(memory <= node.description.capacity.memory_bytes);
            }
        }
    }

    #[test]
    fn every_slot_has_at_most_one_task_wanted_running(acts in prop::collection::vec(act(), 1..25)) {
        let mut cluster = cluster();
        for act in &acts {
            perform(&mut cluster, act);
            let mut slots = std::collections::BTreeSet::new();
            let running = controller_core::Desired::Running;
            for task in cluster.state.tasks().filter(|task| task.is_wanted() && task.desired == running) {
                prop_assert!(slots.insert((task.service, task.slot)));
            }
        }
    }

    #[test]
    fn scaling_converges_to_the_wanted_count(acts in prop::collection::vec(act(), 1..20), replicas in 0..7_u32) {
        let mut cluster = cluster();
        for act in &acts {
            perform(&mut cluster, act);
        }
        heal(&mut cluster);
        for number in 0..3 {
            update(&mut cluster, number, |spec| {
                spec.replicas = replicas;
                spec.container.image = "good".into();
                spec.container.reservations.memory_bytes = 0;
            });
        }
        cluster.settle();
        for service in cluster.state.services() {
            let slots: Vec<u32> = cluster.state.tasks_of_service(&service.id)
                .filter(|task| task.is_wanted() && task.state == TaskState::Running)
                .map(|task| task.slot)
                .collect();
            prop_assert_eq!(slots, (1..=replicas).collect::<Vec<_>>());
        }
        let orphans = cluster.state.tasks().filter(|task| cluster.state.service(&task.service).is_none()).count();
        prop_assert_eq!(orphans, 0, "tasks of removed services are forgotten");
    }

    #[test]
    fn an_agent_at_rest_runs_what_the_state_says(acts in prop::collection::vec(act(), 1..20)) {
        let mut cluster = cluster();
        for act in &acts {
            perform(&mut cluster, act);
        }
        heal(&mut cluster);
        for task in cluster.state.tasks() {
            let Some(agent) = task.node.and_then(|node| cluster.agents.get(&node)) else { continue };
            prop_assert_eq!(agent.runs(&task.id), !task.state.is_finished(), "{:?}", task);
        }
    }

    #[test]
    fn apply_is_deterministic(acts in prop::collection::vec(act(), 1..15)) {
        let mut cluster = cluster();
        let start = cluster.state.clone();
        let first = cluster.log.len();
        for act in acts.iter().filter(|act| matches!(act, Act::Turns { .. } | Act::Wait { .. } | Act::Kill { .. })) {
            perform(&mut cluster, act);
        }
        let (mut a, mut b) = (start.clone(), start);
        for command in &cluster.log[first..] {
            prop_assert_eq!(apply(&mut a, command), apply(&mut b, command));
        }
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(&a, &cluster.state);
    }

    #[test]
    fn refused_commands_change_nothing(acts in prop::collection::vec(act(), 1..20), number in 0..3_u8, port in 0..4_u16, bad in any::<bool>()) {
        let mut cluster = cluster();
        for act in &acts {
            perform(&mut cluster, act);
        }
        let mut spec = spec(&name(number), 1, 0);
        spec.ports = vec![PublishedPort { protocol: Protocol::Tcp, published: port, target: 80 }];
        if bad {
            spec.container.image = String::new();
        }
        let (id, at) = (cluster.ids.service(), cluster.now);
        let commands = [
            Command::UpdateService { id, version: 1, spec: spec.clone(), trace: None, at },
            Command::CreateService { id, spec, trace: None, at },
            Command::RemoveService { id: cluster.ids.service(), at },
            Command::Plan(controller_core::Plan { base: 1, ..controller_core::Plan::default() }),
        ];
        for command in commands {
            let before = cluster.state.clone();
            let refused = cluster.apply(&command).iter().any(|event| matches!(event, Event::Refused(_)));
            prop_assert!(!refused || cluster.state == before);
            prop_assert!(!refused || cluster.state.version() == before.version());
        }
    }
}
