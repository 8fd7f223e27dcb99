//! Sessions with a controller that is made for the test, over real TLS.

use std::time::Duration;

use proto::v1::dispatch_server::{Dispatch, DispatchServer};
use proto::v1::session_request::Message as Up;
use proto::v1::session_response::Message as Down;
use proto::v1::{Assignments, SessionRequest, SessionResponse, TaskAssignment, TaskState, Welcome};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::identity::testing::{Authority, listen};
use crate::task::machine::Seen;
use crate::task::supervisor;
use crate::task::world::World;

/// One session as the controller sees it.
struct Peer {
    up: Streaming<SessionRequest>,
    down: mpsc::Sender<Result<SessionResponse, Status>>,
}

impl Peer {
    async fn next(&mut self) -> Up {
        let message = tokio::time::timeout(Duration::from_secs(10), self.up.message()).await;
        message.expect("a message in time").unwrap().unwrap().message.unwrap()
    }

    async fn next_but_heartbeats(&mut self) -> Up {
        loop {
            match self.next().await {
                Up::Heartbeat(_) => {}
                other => return other,
            }
        }
    }

    async fn say(&self, message: Down) {
        self.down.send(Ok(SessionResponse { message: Some(message) })).await.unwrap();
    }

    async fn welcome(&self) {
        let welcome =
            Welcome { node_id: "n1".into(), node_name: "host-2".into(), heartbeat_ms: 100, lease_ms: 300 };
        self.say(Down::Welcome(welcome)).await;
    }

    async fn assign(&self, complete: bool, applies_to: &str, results_in: &str, update: Vec<TaskAssignment>) {
        self.say(Down::Assignments(Assignments {
            complete,
            applies_to: applies_to.into(),
            results_in: results_in.into(),
            update,
            remove: vec![],
        }))
        .await;
    }
}

/// Hands each session to the test.
struct Controller {
    sessions: mpsc::Sender<Peer>,
}

#[tonic::async_trait]
impl Dispatch for Controller {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (down, stream) = mpsc::channel(8);
        let peer = Peer { up: request.into_inner(), down };
        self.sessions.send(peer).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A world whose tasks run at once.
#[derive(Default)]
struct Instant {
    running: std::sync::Mutex<std::collections::BTreeSet<String>>,
}

impl World for Instant {
    fn see(&self, task_id: &str) -> Seen {
        match self.running.lock().unwrap().contains(task_id) {
            true => Seen::Running { address: None, pid: 5 },
            false => Seen::Absent,
        }
    }

    fn tasks(&self) -> Vec<String> {
        Vec::new()
    }

    async fn prepare(&self, task: Arc<TaskAssignment>, _: CancellationToken) -> Result<(), String> {
        self.running.lock().unwrap().insert(task.task_id.clone());
        Ok(())
    }

    async fn start(&self, _: Arc<TaskAssignment>) -> Result<(), String> {
        Ok(())
    }

    async fn stop(&self, task_id: &str) -> Result<(), String> {
        self.running.lock().unwrap().remove(task_id);
        Ok(())
    }

    async fn remove(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

struct Bench {
    sessions: mpsc::Receiver<Peer>,
    link: watch::Receiver<Link>,
    stop: CancellationToken,
}

impl Bench {
    async fn new() -> Self {
        let authority = Authority::new();
        let (sessions, inbox) = mpsc::channel(4);
        let (address, incoming) = listen(authority.controller()).await;
        let service = DispatchServer::new(Controller { sessions });
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let stop = CancellationToken::new();
        let reports = Reports::default();
        let (link, link_seen) = watch::channel(Link::default());
        let (_, identity) = watch::channel(Arc::new(authority.node("n1", &address)));
        let node = Node { name: "host".into(), address: ":7444".into(), labels: BTreeMap::new() };
        let tasks = supervisor::start(Arc::new(Instant::default()), reports.clone(), stop.clone());
        let session = Session { identity, node, tasks, reports, link, stop: stop.clone() };
        tokio::spawn(session.run());
        Self { sessions: inbox, link: link_seen, stop }
    }

    async fn peer(&mut self) -> Peer {
        let peer = tokio::time::timeout(Duration::from_secs(10), self.sessions.recv()).await;
        peer.expect("a session in time").unwrap()
    }

    async fn linked(&mut self, connected: bool) {
        let wait = self.link.wait_for(|link| link.connected == connected);
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("linked in time").unwrap();
    }
}

fn wanted(id: &str, state: TaskState) -> TaskAssignment {
    TaskAssignment {
        task_id: id.into(),
        desired_state: TaskState::Running.into(),
        state: state.into(),
        ..TaskAssignment::default()
    }
}

/// Until the peer hears that `id` is running.
async fn hears_running(peer: &mut Peer, id: &str) {
    loop {
        if let Up::Report(report) = peer.next().await
            && report
                .statuses
                .iter()
                .any(|status| status.task_id == id && status.state() == TaskState::Running)
        {
            return;
        }
    }
}

#[tokio::test]
async fn an_agent_registers_beats_and_reports_what_it_was_assigned() {
    let mut bench = Bench::new().await;
    let mut peer = bench.peer().await;
    let Up::Register(register) = peer.next().await else { panic!("it does not register first") };
    assert_eq!((register.name.as_str(), register.address.as_str()), ("host", "127.0.0.1:7444"));
    peer.welcome().await;
    bench.linked(true).await;
    assert_eq!(bench.link.borrow().node_name, "host-2");
    assert!(matches!(peer.next().await, Up::Heartbeat(_)));
    peer.assign(true, "", "1", vec![wanted("a", TaskState::Assigned)]).await;
    hears_running(&mut peer, "a").await;
    peer.assign(false, "1", "2", vec![wanted("b", TaskState::Assigned)]).await;
    hears_running(&mut peer, "b").await;
    bench.stop.cancel();
}

#[tokio::test]
async fn a_broken_session_is_begun_again_and_unheard_reports_are_repeated() {
    let mut bench = Bench::new().await;
    let mut peer = bench.peer().await;
    peer.welcome().await;
    peer.assign(true, "", "1", vec![wanted("a", TaskState::Assigned)]).await;
    hears_running(&mut peer, "a").await;
    drop(peer);
    bench.linked(false).await;
    let mut peer = bench.peer().await;
    assert!(matches!(peer.next_but_heartbeats().await, Up::Register(_)));
    peer.welcome().await;
    peer.assign(true, "", "9", vec![wanted("a", TaskState::Preparing)]).await;
    hears_running(&mut peer, "a").await;
    bench.linked(true).await;
}

#[tokio::test]
async fn a_gap_in_the_chain_makes_the_agent_begin_again() {
    let mut bench = Bench::new().await;
    let peer = bench.peer().await;
    peer.welcome().await;
    peer.assign(true, "", "1", vec![]).await;
    peer.assign(false, "2", "3", vec![wanted("a", TaskState::Assigned)]).await;
    let mut again = bench.peer().await;
    assert!(matches!(again.next().await, Up::Register(_)));
}

#[tokio::test]
async fn a_controller_that_does_not_welcome_is_left() {
    let mut bench = Bench::new().await;
    let peer = bench.peer().await;
    peer.assign(true, "", "1", vec![]).await;
    bench.peer().await;
}
