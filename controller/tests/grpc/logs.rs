//! The logs of a service, from the nodes its tasks run on.

use proto::v1;
use proto::v1::control_client::ControlClient;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::dispatch::Agent;
use crate::node_api::{CUT, NodeApi};
use crate::rig::{PATIENCE, Rig, create, spec};

const MS: u64 = 1_000_000;

/// Reports `count` new tasks as running and returns their ids.
async fn run_tasks(agent: &mut Agent, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.extend(agent.assignments().await.update.into_iter().map(|task| task.task_id));
    }
    for id in &ids {
        agent.report(id, v1::TaskState::Running).await;
    }
    ids
}

async fn running(admin: &mut ControlClient<Channel>, count: u32) {
    let watch = v1::WatchServiceRequest { service: "web".to_owned() };
    let mut watch = admin.watch_service(watch).await.unwrap().into_inner();
    let done = async { while watch.message().await.unwrap().unwrap().service.unwrap().running != count {} };
    tokio::time::timeout(PATIENCE, done).await.expect("the tasks do not run");
}

async fn logs(
    admin: &mut ControlClient<Channel>,
    follow: bool,
    tail: Option<u32>,
) -> Streaming<v1::ServiceLogsResponse> {
    let request = v1::ServiceLogsRequest {
        service: "web".to_owned(),
        follow,
        tail,
        ..v1::ServiceLogsRequest::default()
    };
    admin.service_logs(request).await.unwrap().into_inner()
}

async fn next(logs: &mut Streaming<v1::ServiceLogsResponse>) -> Result<Option<(u32, String)>, Status> {
    let message = tokio::time::timeout(PATIENCE, logs.message()).await.expect("silence")?;
    Ok(message.map(|message| {
        assert_eq!(message.node_name, "n1");
        (message.slot, String::from_utf8(message.line.unwrap().data).unwrap())
    }))
}

async fn rest(logs: &mut Streaming<v1::ServiceLogsResponse>) -> Result<Vec<String>, Status> {
    let mut lines = Vec::new();
    while let Some((_, line)) = next(logs).await? {
        lines.push(line);
    }
    lines.sort();
    Ok(lines)
}

#[tokio::test]
async fn the_logs_of_all_tasks_are_merged_also_of_those_that_appear_later() {
    let rig = Rig::start().await;
    let (_, card) = rig.node("n1").await;
    let node = NodeApi::default();
    let address = node.serve(&rig, &card).await;
    let (mut agent, _) = Agent::join(&rig, &card, &address).await;
    agent.assignments().await;
    let mut admin = rig.admin();
    let made = create(&mut admin, spec("web", 2)).await;
    let ids = run_tasks(&mut agent, 2).await;
    running(&mut admin, 2).await;
    for (index, id) in ids.iter().enumerate() {
        node.write(id, MS, &format!("old {index}"));
    }
    assert_eq!(rest(&mut logs(&mut admin, false, Some(7)).await).await.unwrap(), ["old 0", "old 1"]);
    assert!(node.asked.lock().unwrap().iter().all(|request| request.tail == Some(7) && !request.follow));

    let mut follow = logs(&mut admin, true, None).await;
    for _ in 0..2 {
        assert!(next(&mut follow).await.unwrap().unwrap().1.starts_with("old"));
    }
    // An interrupted stream goes on where it was, without repeating a line.
    node.write(&ids[0], 2 * MS, "before");
    assert_eq!(next(&mut follow).await.unwrap().unwrap().1, "before");
    node.write(&ids[0], 2 * MS, std::str::from_utf8(CUT).unwrap());
    node.write(&ids[0], 2 * MS + 1, "after");
    assert_eq!(next(&mut follow).await.unwrap().unwrap().1, "after");
    assert!(node.asked.lock().unwrap().iter().any(|request| request.follow && request.since_ms == 2));
    let read = admin.get_service(v1::GetServiceRequest { service: made.id }).await.unwrap().into_inner();
    let version = read.service.unwrap().version;
    let update = v1::UpdateServiceRequest { service: "web".to_owned(), version, spec: Some(spec("web", 3)) };
    admin.update_service(update).await.unwrap();
    let late = run_tasks(&mut agent, 1).await;
    node.write(&late[0], 4 * MS, "late");
    assert_eq!(next(&mut follow).await.unwrap().unwrap(), (3, "late".to_owned()));
    drop(follow);
    rig.stop().await;
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_an_error_told_at_the_end() {
    let rig = Rig::start().await;
    let (_, card) = rig.node("n1").await;
    // Nobody listens on port 1.
    let (mut agent, _) = Agent::join(&rig, &card, "127.0.0.1:1").await;
    agent.assignments().await;
    let mut admin = rig.admin();
    create(&mut admin, spec("web", 1)).await;
    run_tasks(&mut agent, 1).await;
    running(&mut admin, 1).await;
    let status = rest(&mut logs(&mut admin, false, None).await).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("on node n1 could not be read"), "{status}");
    assert!(status.message().contains("127.0.0.1:1"), "{status}");
    rig.stop().await;
}

#[tokio::test]
async fn another_node_at_the_address_is_not_believed() {
    let rig = Rig::start().await;
    let (_, card) = rig.node("n1").await;
    let (_, liar_card) = rig.node("liar").await;
    let liar = NodeApi::default();
    let address = liar.serve(&rig, &liar_card).await;
    let (mut agent, _) = Agent::join(&rig, &card, &address).await;
    agent.assignments().await;
    let mut admin = rig.admin();
    create(&mut admin, spec("web", 1)).await;
    let ids = run_tasks(&mut agent, 1).await;
    liar.write(&ids[0], MS, "believe me");
    running(&mut admin, 1).await;
    let status = rest(&mut logs(&mut admin, false, None).await).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("answers there"), "{status}");
    assert!(liar.asked.lock().unwrap().is_empty());
    rig.stop().await;
}
