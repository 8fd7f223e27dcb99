//! Sessions of agents.

use std::time::Duration;

use proto::v1;
use proto::v1::dispatch_client::DispatchClient;
use proto::v1::session_request::Message as Up;
use proto::v1::session_response::Message as Down;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::rig::{Card, PATIENCE, Rig, create, spec};

/// An agent's side of a session.
pub(crate) struct Agent {
    pub(crate) up: mpsc::Sender<v1::SessionRequest>,
    down: Streaming<v1::SessionResponse>,
}

impl Agent {
    /// Opens a session without a word.
    pub(crate) async fn open(rig: &Rig, card: &Card) -> Result<Self, Status> {
        let (up, requests) = mpsc::channel(64);
        let mut client = DispatchClient::new(rig.channel(Some(card)));
        let down = client.session(ReceiverStream::new(requests)).await?.into_inner();
        Ok(Self { up, down })
    }

    /// Opens a session and registers.
    pub(crate) async fn join(rig: &Rig, card: &Card, address: &str) -> (Self, v1::Welcome) {
        let mut agent = Self::open(rig, card).await.unwrap();
        agent.say(Up::Register(register(address))).await;
        match agent.hear().await.unwrap() {
            Some(Down::Welcome(welcome)) => (agent, welcome),
            other => panic!("expected a welcome, got {other:?}"),
        }
    }

    pub(crate) async fn say(&self, message: Up) {
        self.up.send(v1::SessionRequest { message: Some(message) }).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Result<Option<Down>, Status> {
        let message = tokio::time::timeout(PATIENCE, self.down.message()).await.expect("silence")?;
        Ok(message.and_then(|response| response.message))
    }

    pub(crate) async fn assignments(&mut self) -> v1::Assignments {
        match self.hear().await.unwrap() {
            Some(Down::Assignments(assignments)) => assignments,
            other => panic!("expected assignments, got {other:?}"),
        }
    }

    pub(crate) async fn report(&self, task_id: &str, state: v1::TaskState) {
        let status =
            v1::TaskStatus { task_id: task_id.to_owned(), state: state.into(), ..Default::default() };
        self.say(Up::Report(v1::Report { statuses: vec![status] })).await;
    }

    /// How the session ends.
    async fn end(&mut self) -> Code {
        loop {
            match self.hear().await {
                Ok(Some(_)) => {}
                Ok(None) => return Code::Ok,
                Err(status) => return status.code(),
            }
        }
    }
}

fn register(address: &str) -> v1::Register {
    let capacity = v1::Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30, pids: 0 };
    v1::Register { address: address.to_owned(), capacity: Some(capacity), ..Default::default() }
}

#[tokio::test]
async fn assignments_come_complete_first_and_then_as_a_chain() {
    let rig = Rig::start().await;
    let (id, card) = rig.node("n1").await;
    let (mut agent, welcome) = Agent::join(&rig, &card, "127.0.0.1:1").await;
    assert_eq!((welcome.node_id.as_str(), welcome.node_name.as_str()), (id.as_str(), "n1"));
    assert!(welcome.heartbeat_ms > 0 && welcome.lease_ms > welcome.heartbeat_ms);
    let complete = agent.assignments().await;
    assert!(complete.complete && complete.applies_to.is_empty() && complete.update.is_empty());
    let mut admin = rig.admin();
    create(&mut admin, spec("web", 3)).await;
    let (mut last, mut tasks) = (complete.results_in, Vec::new());
    while tasks.len() < 3 {
        let next = agent.assignments().await;
        assert!(!next.complete);
        assert_eq!(next.applies_to, last);
        assert_ne!(next.results_in, last);
        last = next.results_in;
        tasks.extend(next.update);
    }
    let mut slots: Vec<_> = tasks.iter().map(|task| task.slot).collect();
    slots.sort_unstable();
    assert_eq!(slots, [1, 2, 3]);
    assert!(tasks.iter().all(|task| task.service_name == "web"));
    for task in &tasks {
        agent.report(&task.task_id, v1::TaskState::Running).await;
    }
    let running = async {
        loop {
            let request = v1::GetServiceRequest { service: "web".to_owned() };
            if admin.get_service(request).await.unwrap().into_inner().service.unwrap().running == 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, running).await.expect("the reports were not heard");
    // A new session begins with everything again.
    let (mut again, _) = Agent::join(&rig, &card, "127.0.0.1:1").await;
    let complete = again.assignments().await;
    assert!(complete.complete);
    assert_eq!(complete.update.len(), 3);
    assert!(complete.update.iter().all(|task| task.state() == v1::TaskState::Running));
    rig.stop().await;
}

#[tokio::test]
async fn the_newer_session_of_a_node_ends_the_older_one() {
    let rig = Rig::start().await;
    let (_, card) = rig.node("n1").await;
    let (mut old, _) = Agent::join(&rig, &card, "127.0.0.1:1").await;
    let (mut new, _) = Agent::join(&rig, &card, "127.0.0.1:1").await;
    assert_eq!(old.end().await, Code::Aborted);
    assert!(new.assignments().await.complete);
    new.say(Up::Heartbeat(v1::Heartbeat {})).await;
    create(&mut rig.admin(), spec("web", 1)).await;
    assert_eq!(new.assignments().await.update.len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_node_the_state_does_not_know_is_refused() {
    let rig = Rig::start().await;
    let card = rig.card(controller::ca::Role::Node, &"x".repeat(25));
    let status = Agent::open(&rig, &card).await.err().expect("it was let in");
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("join again"), "{status}");
    rig.stop().await;
}

#[tokio::test]
async fn an_agent_that_sends_garbage_loses_its_session_and_hurts_no_other() {
    let rig = Rig::start().await;
    let (_, bad_card) = rig.node("bad").await;
    let (_, good_card) = rig.node("good").await;
    let (mut good, _) = Agent::join(&rig, &good_card, "127.0.0.1:1").await;
    good.assignments().await;
    let status = |task_id: &str, state: i32| v1::TaskStatus {
        task_id: task_id.to_owned(),
        state,
        ..Default::default()
    };
    let report = |statuses| Some(Up::Report(v1::Report { statuses }));
    let id = "a".repeat(25);
    let garbage = [
        None,
        Some(Up::Register(register("127.0.0.1:1"))),
        report(vec![status("../../etc/passwd", 512)]),
        report(vec![status(&id, -7)]),
        report(vec![status(&id, v1::TaskState::Orphaned.into())]),
        report(vec![status(&id, 512); 10_001]),
    ];
    for (row, message) in garbage.into_iter().enumerate() {
        let (mut bad, _) = Agent::join(&rig, &bad_card, "127.0.0.1:1").await;
        bad.up.send(v1::SessionRequest { message }).await.unwrap();
        assert_eq!(bad.end().await, Code::InvalidArgument, "row {row}");
    }
    let mut unregistered = Agent::open(&rig, &bad_card).await.unwrap();
    unregistered.say(Up::Register(register("nowhere"))).await;
    assert_eq!(unregistered.end().await, Code::InvalidArgument);
    let mut eager = Agent::open(&rig, &bad_card).await.unwrap();
    eager.say(Up::Heartbeat(v1::Heartbeat {})).await;
    assert_eq!(eager.end().await, Code::InvalidArgument);
    good.say(Up::Heartbeat(v1::Heartbeat {})).await;
    create(&mut rig.admin(), spec("web", 4)).await;
    assert!(!good.assignments().await.update.is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_node_writes_the_status_of_its_own_tasks_only() {
    let rig = Rig::start().await;
    let (_, owner_card) = rig.node("owner").await;
    let (mut owner, _) = Agent::join(&rig, &owner_card, "127.0.0.1:1").await;
    owner.assignments().await;
    create(&mut rig.admin(), spec("web", 1)).await;
    let task = owner.assignments().await.update.remove(0).task_id;
    let (_, other_card) = rig.node("other").await;
    let (mut other, _) = Agent::join(&rig, &other_card, "127.0.0.1:1").await;
    other.assignments().await;
    other.report(&task, v1::TaskState::Failed).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    owner.report(&task, v1::TaskState::Running).await;
    let id = task.parse().unwrap();
    let running = async {
        while rig.store.state().task(&id).unwrap().state != controller_core::TaskState::Running {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, running).await.expect("the other node's word was taken");
    rig.stop().await;
}
