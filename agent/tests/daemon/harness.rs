//! Starts agents and speaks with them over their sockets.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use proto::v1::node_control_client::NodeControlClient;
use proto::v1::{
    Container, ContainerSpec, CreateContainerRequest, ListContainersRequest, StartContainerRequest,
};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Client = NodeControlClient<Channel>;

/// One agent and its directories.
pub(crate) struct Agent {
    process: Child,
    pub(crate) home: PathBuf,
    _directory: Option<TempDir>,
}

/// The agent's command line for directories below `home`.
pub(crate) fn command(home: &Path) -> Command {
    assert!(is_root(), "this test needs root: it makes namespaces, mounts and cgroups");
    // A fresh network namespace, so that nothing of this host is touched.
    let mut command = Command::new("unshare");
    command.args(["--net", "--", env!("CARGO_BIN_EXE_agent")]).args(arguments(home));
    command
}

pub(crate) fn arguments(home: &Path) -> Vec<String> {
    let path = |name: &str| home.join(name).display().to_string();
    let flags = ["--data-dir", &path("data"), "--run-dir", &path("run"), "--bridge", "rstest0"];
    flags.iter().map(|&flag| flag.to_owned()).collect()
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

impl Agent {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("agent-daemon-").tempdir().unwrap();
        let home = directory.path().to_owned();
        Self { process: spawn(&home), home, _directory: Some(directory) }.ready().await
    }

    async fn ready(mut self) -> Self {
        let begun = Instant::now();
        while connect(&self.home).await.is_none() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "not ready: {ended:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    pub(crate) async fn client(&self) -> Client {
        connect(&self.home).await.unwrap_or_else(|| panic!("no agent:\n{}", self.log()))
    }

    /// Kills it with SIGKILL and starts another one, in the same network.
    pub(crate) async fn crash_and_restart(&mut self) {
        let keeper = self.client().await.get_node(proto::v1::GetNodeRequest {}).await.unwrap();
        let keeper = keeper.into_inner().keeper_pid;
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let mut command = Command::new("nsenter");
        command.args([&format!("--net=/proc/{keeper}/ns/net"), "--", env!("CARGO_BIN_EXE_agent")]);
        command.args(arguments(&self.home));
        self.process = launch(command, &self.home);
        let begun = Instant::now();
        while connect(&self.home).await.is_none() {
            assert!(begun.elapsed() < PATIENCE, "not ready again\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until it has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes and starts a container of the embedded image.
    pub(crate) async fn run_hello(&self, name: &str) -> Container {
        let mut client = self.client().await;
        client.create_container(hello(name)).await.unwrap();
        client.start_container(StartContainerRequest { container: name.into() }).await.unwrap();
        self.containers().await.into_iter().find(|container| container.name == name).unwrap()
    }

    pub(crate) async fn containers(&self) -> Vec<Container> {
        let answer = self
            .client()
            .await
            .list_containers(ListContainersRequest { all: true, ..Default::default() })
            .await;
        answer.unwrap().into_inner().containers
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The end of its input is the end of the agent and of its containers.
        drop(self.process.stdin.take());
        let begun = Instant::now();
        while self.process.try_wait().is_ok_and(|status| status.is_none()) {
            if begun.elapsed() > PATIENCE {
                let _ = self.process.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(crate) fn hello(name: &str) -> CreateContainerRequest {
    CreateContainerRequest {
        name: name.into(),
        spec: Some(ContainerSpec { image: "roadstead/hello".into(), ..ContainerSpec::default() }),
        ..CreateContainerRequest::default()
    }
}

fn spawn(home: &Path) -> Child {
    launch(command(home), home)
}

fn launch(mut command: Command, home: &Path) -> Child {
    let log = File::options().create(true).append(true).open(home.join("log")).unwrap();
    let flags = ["--exit-with-stdin", "--stop-containers-on-exit"];
    command.args(flags).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

async fn connect(home: &Path) -> Option<Client> {
    let socket = home.join("run/agent.sock");
    let connector = tower::service_fn(move |_: http::Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://agent").connect_with_connector(connector).await.ok()?;
    Some(NodeControlClient::new(channel))
}

/// Runs an agent that is expected to refuse: its exit code and what it says.
pub(crate) fn refused(mut command: Command) -> (i32, String) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code().unwrap_or(-1), said)
}
