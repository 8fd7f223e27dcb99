//! The Node API over the unix socket, against a real engine.

use proto::v1;
use proto::v1::attach_container_request::Message;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::harness::{Agent, PATIENCE, hello};

#[tokio::test]
async fn a_container_lives_from_create_to_remove() {
    let agent = Agent::start().await;
    let mut client = agent.client().await;
    let container = agent.run_hello("web").await;
    assert_eq!(container.state, "running");
    assert!(container.pid > 0 && !container.address.is_empty());
    let logs = v1::ContainerLogsRequest {
        container: "web".into(),
        follow: true,
        ..v1::ContainerLogsRequest::default()
    };
    let mut lines = client.container_logs(logs).await.unwrap().into_inner();
    let line = lines.message().await.unwrap().unwrap().line.unwrap();
    assert_eq!(line.data, b"listening on 0.0.0.0:80");
    let kill =
        v1::KillContainerRequest { container: container.id[..12].into(), signal: 9, ..Default::default() };
    client.kill_container(kill).await.unwrap();
    let wait = v1::WaitContainerRequest { container: "web".into(), ..Default::default() };
    assert_eq!(client.wait_container(wait).await.unwrap().into_inner().exit_code, 137);
    let end = tokio::time::timeout(PATIENCE, lines.message()).await.unwrap().unwrap();
    assert!(end.is_none(), "{end:?}");
    let remove = v1::RemoveContainerRequest { container: "web".into(), force: false, ..Default::default() };
    client.remove_container(remove).await.unwrap();
    assert!(agent.containers().await.is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_and_changes_nothing() {
    let agent = Agent::start().await;
    let mut client = agent.client().await;
    let cases: [(v1::CreateContainerRequest, Code, &str); 5] = [
        (v1::CreateContainerRequest::default(), Code::InvalidArgument, "spec"),
        (with(|request| spec(request).image = String::new()), Code::InvalidArgument, "image"),
        (with(|request| spec(request).image = "UPPER:::".into()), Code::InvalidArgument, "image"),
        (with(|request| request.ports.push(v1::PublishedPort::default())), Code::InvalidArgument, "port"),
        (
            with(|request| {
                spec(request).limits = Some(v1::Resources { memory_bytes: 4096, ..v1::Resources::default() });
            }),
            Code::InvalidArgument,
            "memory",
        ),
    ];
    for (request, code, word) in cases {
        let status = client.create_container(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(word), "{status:?}");
    }
    let absent = v1::CreateContainerRequest {
        pull: v1::PullPolicy::Never.into(),
        ..with(|request| spec(request).image = "absent".into())
    };
    assert_eq!(client.create_container(absent).await.unwrap_err().code(), Code::NotFound);
    let start = v1::StartContainerRequest { container: "nobody".into() };
    assert_eq!(client.start_container(start).await.unwrap_err().code(), Code::NotFound);
    client.create_container(hello("taken")).await.unwrap();
    assert_eq!(client.create_container(hello("taken")).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(agent.containers().await.len(), 1);
}

fn with(change: impl FnOnce(&mut v1::CreateContainerRequest)) -> v1::CreateContainerRequest {
    let mut request = hello("bad");
    change(&mut request);
    request
}

fn spec(request: &mut v1::CreateContainerRequest) -> &mut v1::ContainerSpec {
    request.spec.get_or_insert_default()
}

#[tokio::test]
async fn an_attachment_opened_before_the_start_misses_nothing_and_ends_with_the_container() {
    let agent = Agent::start().await;
    let mut client = agent.client().await;
    client.create_container(hello("web")).await.unwrap();
    let (up, requests) = tokio::sync::mpsc::channel(4);
    let open = v1::AttachOpen { container: "web".into(), ..Default::default() };
    up.send(v1::AttachContainerRequest { message: Some(Message::Open(open)) }).await.unwrap();
    let mut output = client.attach_container(ReceiverStream::new(requests)).await.unwrap().into_inner();
    client.start_container(v1::StartContainerRequest { container: "web".into() }).await.unwrap();
    let first = tokio::time::timeout(PATIENCE, output.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((first.data.as_slice(), first.stderr), (&b"listening on 0.0.0.0:80\n"[..], false));
    client
        .kill_container(v1::KillContainerRequest { container: "web".into(), signal: 9, ..Default::default() })
        .await
        .unwrap();
    let end = tokio::time::timeout(PATIENCE, output.message()).await.unwrap().unwrap();
    assert!(end.is_none(), "{end:?}");
}

#[tokio::test]
async fn the_embedded_image_is_listed_and_an_unreachable_registry_is_named() {
    let agent = Agent::start().await;
    let mut client = agent.client().await;
    let images = client.list_images(v1::ListImagesRequest::default()).await.unwrap().into_inner().images;
    assert_eq!(images.len(), 1);
    assert!(images[0].name.contains("roadstead/hello"), "{images:?}");
    let request =
        v1::PullImageRequest { image: "127.0.0.1:1/nothing:1".into(), ..v1::PullImageRequest::default() };
    let mut progress = client.pull_image(request).await.unwrap().into_inner();
    let status = loop {
        match progress.message().await {
            Ok(message) => assert!(message.is_some(), "it ended without an error"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("127.0.0.1:1"), "{status:?}");
}

#[tokio::test]
async fn a_shutdown_over_the_api_ends_everything() {
    let mut agent = Agent::start().await;
    let container = agent.run_hello("web").await;
    let mut client = agent.client().await;
    let keeper = client.get_node(v1::GetNodeRequest {}).await.unwrap().into_inner().keeper_pid;
    client.shutdown(v1::ShutdownRequest { stop_containers: true }).await.unwrap();
    assert!(agent.ended().success(), "{}", agent.log());
    for pid in [container.pid, keeper] {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left");
    }
}
