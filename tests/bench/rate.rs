//! Whole lives of containers (create, start, wait, remove) as fast as they go, by
//! one client over the agent's own interface: one after the other, and several at a time.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use proto::v1;
use proto::v1::node_control_client::NodeControlClient;
use tonic::transport::{Channel, Endpoint};

/// A client of one agent.
#[derive(Debug)]
pub(crate) struct Client {
    runtime: tokio::runtime::Runtime,
    node: NodeControlClient<Channel>,
    image: String,
}

/// How fast it went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Lives per second.
    pub(crate) per_second: f64,
    /// The shortest life.
    pub(crate) least: Duration,
    /// The middle one.
    pub(crate) middle: Duration,
}

impl Client {
    /// Connects to the socket.
    pub(crate) fn connect(socket: &Path, image: String) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads can be started");
        let socket: PathBuf = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://agent.roadstead");
        let channel = runtime.block_on(endpoint.connect_with_connector(connector));
        Self { runtime, node: NodeControlClient::new(channel.expect("the agent listens")), image }
    }

    /// One life: nothing of the container is there before and after.
    pub(crate) fn live(&self) -> Duration {
        self.runtime.block_on(live(self.node.clone(), self.image.clone()))
    }

    /// `count` lives, `at_a_time` of them.
    pub(crate) fn rate(&self, count: usize, at_a_time: usize) -> Rate {
        let begun = Instant::now();
        let work = async {
            let workers: Vec<_> = (0..at_a_time)
                .map(|_| {
                    let (node, image) = (self.node.clone(), self.image.clone());
                    tokio::spawn(async move {
                        let mut lives = Vec::new();
                        for _ in 0..count / at_a_time {
                            lives.push(live(node.clone(), image.clone()).await);
                        }
                        lives
                    })
                })
                .collect();
            let mut lives = Vec::new();
            for worker in workers {
                lives.extend(worker.await.expect("every life ends well"));
            }
            lives
        };
        let mut lives = self.runtime.block_on(work);
        let per_second = lives.len() as f64 / begun.elapsed().as_secs_f64();
        lives.sort_unstable();
        Rate { per_second, least: lives[0], middle: lives[lives.len() / 2] }
    }
}

async fn live(mut node: NodeControlClient<Channel>, image: String) -> Duration {
    let begun = Instant::now();
    let spec = v1::ContainerSpec { image, command: vec!["true".into()], ..Default::default() };
    let request = v1::CreateContainerRequest {
        spec: Some(spec),
        auto_remove: true,
        start_follows: true,
        ..Default::default()
    };
    let container = node.create_container(request).await.expect("it is created").into_inner().id;
    let start = v1::StartContainerRequest { container: container.clone() };
    node.start_container(start).await.expect("it starts");
    let wait = v1::WaitContainerRequest { container: container.clone(), next_exit: false };
    match node.wait_container(wait).await {
        Ok(exit) => assert_eq!(exit.into_inner().exit_code, 0),
        // It has ended and is gone already.
        Err(status) => assert_eq!(status.code(), tonic::Code::NotFound, "{status}"),
    }
    // Removed by itself or by this: afterwards it is gone.
    let remove = v1::RemoveContainerRequest { container, force: false, volumes: true };
    match node.remove_container(remove).await {
        Err(status) if status.code() != tonic::Code::NotFound => panic!("not removed: {status}"),
        _ => begun.elapsed(),
    }
}
