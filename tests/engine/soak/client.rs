//! A client of the agent's API that runs, attaches, enters and removes.

use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use itest::solo::Solo;
use proto::v1;
use proto::v1::attach_container_request::Message as Up;
use proto::v1::exec_client::ExecClient;
use proto::v1::exec_session_request::Message as ExecUp;
use proto::v1::exec_session_response::Message as ExecDown;
use proto::v1::node_control_client::NodeControlClient;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};

/// A runtime and the agent's socket.
pub(super) struct Client {
    runtime: tokio::runtime::Runtime,
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(solo: &Solo<'_>) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Client { runtime: runtime.expect("a runtime"), socket: solo.root().join("data/run/agent.sock") }
    }

    /// Runs so many cycles, `beside` of them at a time, each over a connection that is then closed.
    pub(super) fn cycles(&self, cycles: usize, beside: usize) {
        self.runtime.block_on(async {
            let lane = async |lane: usize| {
                let channel = connect(self.socket.clone()).await;
                for number in (lane..cycles).step_by(beside) {
                    cycle(channel.clone(), number).await;
                }
            };
            futures::future::join_all((0..beside).map(lane)).await;
        });
    }
}

async fn connect(socket: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://agent.roadstead");
    endpoint.connect_with_connector(connector).await.expect("the agent listens")
}

/// One container's life. Every second one removes itself; every third client hangs up in the middle.
async fn cycle(channel: Channel, number: usize) {
    let (removes_itself, hangs_up) = (number % 2 == 1, number % 3 == 2);
    let mut node = NodeControlClient::new(channel.clone());
    let port = if removes_itself { "PORT=none" } else { "PORT=80" };
    let spec = v1::ContainerSpec {
        image: "roadstead/hello".to_owned(),
        env: vec![port.to_owned()],
        ..v1::ContainerSpec::default()
    };
    let request = v1::CreateContainerRequest {
        spec: Some(spec),
        auto_remove: removes_itself,
        terminal: number.is_multiple_of(5),
        stdin: true,
        ..v1::CreateContainerRequest::default()
    };
    let container = node.create_container(request).await.expect("it is made").into_inner().id;
    let open = v1::AttachOpen { container: container.clone(), ..v1::AttachOpen::default() };
    let message = |message| v1::AttachContainerRequest { message: Some(message) };
    let (up, requests) = tokio::sync::mpsc::channel(4);
    up.send(message(Up::Open(open))).await.expect("it fits");
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut attached = node.attach_container(requests).await.expect("it can be attached to").into_inner();
    let start = v1::StartContainerRequest { container: container.clone() };
    node.start_container(start).await.expect("it starts");
    let first = attached.message().await.expect("no error").expect("it says something");
    assert!(String::from_utf8_lossy(&first.data).contains("listen"), "{first:?}");
    if removes_itself {
        while attached.message().await.expect("no error").is_some() {}
        return;
    }
    up.send(message(Up::Stdin(b"unread".to_vec()))).await.expect("it is attached");
    if hangs_up {
        drop((up, attached));
        enter(channel, &container, true).await;
        remove(node, container).await;
    } else {
        enter(channel, &container, false).await;
        remove(node, container).await;
        while attached.message().await.expect("no error").is_some() {}
    }
}

/// A further process, which ends at once.
async fn enter(channel: Channel, container: &str, hangs_up: bool) {
    let spec = v1::ExecSpec {
        container: container.to_owned(),
        command: vec!["/hello".to_owned()],
        env: vec![if hangs_up { "PORT=81" } else { "PORT=none" }.to_owned()],
        ..v1::ExecSpec::default()
    };
    let first = v1::ExecSessionRequest { message: Some(ExecUp::Start(spec)) };
    let mut client = ExecClient::new(channel);
    let requests = tokio_stream::once(first).chain(tokio_stream::pending());
    let mut session = client.session(requests).await.expect("it can be entered").into_inner();
    if hangs_up {
        session.message().await.expect("no error").expect("it was started");
        return;
    }
    loop {
        let message = session.message().await.expect("no error").expect("it tells its end");
        if let Some(ExecDown::Exited(exited)) = message.message {
            assert_eq!(exited.exit_code, 1);
            return;
        }
    }
}

async fn remove(mut node: NodeControlClient<Channel>, container: String) {
    let request = v1::RemoveContainerRequest { container, force: true, volumes: true };
    node.remove_container(request).await.expect("it is removed");
}
