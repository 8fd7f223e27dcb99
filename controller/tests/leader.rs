//! The leader loop on a real store: what it proposes by itself, and what it does not.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use controller::consensus::{self, MemoryLog, RaftSettings, RaftThread, SnapshotPolicy};
use controller::leader::{self, LeaderHandle};
use controller::store::Store;
use controller_core::command::TaskStatus;
use controller_core::{
    Command, ContainerSpec, Ids, Input, NodeDescription, NodeId, Resources, Role, ServiceSpec, State, Task,
    TaskState, Timestamp,
};
use tokio::time::{sleep, timeout};

type Outcome = Result<(), Box<dyn Error>>;

const REPLICAS: u32 = 20;

/// A leading controller with two nodes and a service of [`REPLICAS`].
struct Rig {
    store: Store,
    thread: RaftThread,
    leader: LeaderHandle,
    nodes: [NodeId; 2],
}

async fn rig() -> Result<Rig, Box<dyn Error>> {
    let log = Arc::new(MemoryLog::new());
    let (store, thread) = consensus::start(&RaftSettings::single(1), SnapshotPolicy::default(), log)?;
    let (leader, run) = leader::run(store.clone(), 7);
    tokio::spawn(run);
    store.status_changes().wait_for(|status| status.leading).await?;
    let mut ids = Ids::new(1);
    let at = leader::clock();
    store.propose_checked(Command::Bootstrap { cluster_id: ids.cluster(), root_der: vec![1], at }).await?;
    let nodes = [ids.node(), ids.node()];
    for (node, name) in nodes.into_iter().zip(["n1", "n2"]) {
        let (hash, role, expires) = (format!("{name:0>64}"), Role::Agent, Timestamp(u64::MAX));
        store.propose_checked(Command::CreateToken { hash: hash.clone(), role, expires, at }).await?;
        store
            .propose_checked(Command::AdmitNode { id: node, name: name.into(), token_hash: hash, at })
            .await?;
        let capacity = Resources { memory_bytes: 8 << 30, ..Resources::default() };
        let description = NodeDescription { capacity, ..NodeDescription::default() };
        store.propose_checked(Command::RegisterNode { id: node, description, at }).await?;
        leader.send(Input::Connected { node }).await;
    }
    let container = ContainerSpec { image: "roadstead/hello".into(), ..ContainerSpec::default() };
    let spec = ServiceSpec { name: "web".into(), replicas: REPLICAS, container, ..ServiceSpec::default() };
    store.propose_checked(Command::CreateService { id: ids.service(), spec, trace: None, at }).await?;
    Ok(Rig { store, thread, leader, nodes })
}

impl Rig {
    /// Waits until the state has a property.
    async fn until(&self, what: &str, holds: impl Fn(&State) -> bool) -> Outcome {
        let mut changes = self.store.changes();
        let wait = async {
            while !holds(&self.store.state()) {
                changes.changed().await?;
            }
            Ok(())
        };
        timeout(Duration::from_secs(10), wait).await.map_err(|_| format!("never came: {what}"))?
    }
}

fn placed(state: &State) -> Vec<Task> {
    state.tasks().filter(|task| task.node.is_some()).map(|task| Task::clone(task)).collect()
}

fn status(task: &Task, state: TaskState) -> TaskStatus {
    let (message, error, address) = (String::new(), String::new(), String::new());
    TaskStatus { task: task.id, state, message, error, exit_code: None, address, pid: 0 }
}

#[tokio::test]
async fn a_service_gets_its_tasks_spread_over_the_nodes_in_a_handful_of_entries() -> Outcome {
    let rig = rig().await?;
    let before = rig.store.status().applied;
    rig.until("20 placed tasks", |state| placed(state).len() == 20).await?;
    for node in rig.nodes {
        let state = rig.store.state();
        assert_eq!(state.tasks_on_node(&node).count(), 10, "{node}");
        assert!(state.check().is_empty());
    }
    let entries = rig.store.status().applied - before;
    assert!(entries <= 4, "{entries} entries");
    rig.thread.stop(&rig.store).await?;
    Ok(())
}

#[tokio::test]
async fn reports_that_come_together_are_merged() -> Outcome {
    let rig = rig().await?;
    rig.until("20 placed tasks", |state| placed(state).len() == 20).await?;
    let tasks = placed(&rig.store.state());
    let before = rig.store.status().applied;
    for task in &tasks {
        for state in [TaskState::Accepted, TaskState::Preparing, TaskState::Running] {
            let node = task.node.ok_or("placed")?;
            rig.leader.send(Input::Report { node, statuses: vec![status(task, state)] }).await;
        }
    }
    let running = |state: &State| state.tasks().all(|task| task.state == TaskState::Running);
    rig.until("20 running tasks", running).await?;
    let entries = rig.store.status().applied - before;
    assert!(entries <= 12, "60 reports became {entries} entries");
    rig.thread.stop(&rig.store).await?;
    Ok(())
}

#[tokio::test]
async fn a_settled_cluster_proposes_nothing() -> Outcome {
    let rig = rig().await?;
    rig.until("20 placed tasks", |state| placed(state).len() == 20).await?;
    for task in placed(&rig.store.state()) {
        let node = task.node.ok_or("placed")?;
        rig.leader.send(Input::Report { node, statuses: vec![status(&task, TaskState::Running)] }).await;
    }
    rig.until("20 running tasks", |state| state.tasks().all(|task| task.state == TaskState::Running)).await?;
    sleep(Duration::from_millis(300)).await;
    let before = rig.store.status().applied;
    for _ in 0..10 {
        for node in rig.nodes {
            rig.leader.send(Input::Heartbeat { node }).await;
        }
        sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(rig.store.status().applied, before, "heartbeats and time are not written");
    rig.thread.stop(&rig.store).await?;
    Ok(())
}
