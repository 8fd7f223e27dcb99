//! A user's side of an attached container: input, window sizes and signals go
//! up, output comes down. When the agent goes away (an upgrade, a crash) the
//! container lives on, so this side reconnects and goes on with it.

use std::time::Duration;

use proto::v1::attach_container_request::Message;
use proto::v1::{
    AttachContainerRequest, AttachContainerResponse, AttachOpen, KillContainerRequest, WaitContainerRequest,
    WaitContainerResponse, WindowSize,
};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::cli::Global;
use crate::client::Node;
use crate::error::{CommandError, Kind};
use crate::output;
use crate::terminal::{self, RawMode};

/// How long a lost agent is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(200);

/// The exit code of a program that SIGKILL ended.
const KILLED: i32 = 137;

/// What the user's side offers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// Send standard input.
    pub(super) stdin: bool,
    /// The container has a terminal.
    pub(super) terminal: bool,
}

/// An open attachment.
pub(super) struct Session {
    up: mpsc::Sender<AttachContainerRequest>,
    down: Streaming<AttachContainerResponse>,
    /// Asked for before there is an end, so that the answer does not depend on how long the record outlives it.
    exit: tokio::task::JoinHandle<Result<WaitContainerResponse, tonic::Status>>,
    options: Options,
}

/// Attaches to a container.
///
/// # Errors
/// When there is no such container.
pub(super) async fn open(agent: &mut Node, id: &str, options: Options) -> Result<Session, CommandError> {
    let (up, requests) = mpsc::channel(16);
    let first = Message::Open(AttachOpen { container: id.to_owned() });
    // The channel is new and has room, so this can't fail.
    let _ = up.try_send(AttachContainerRequest { message: Some(first) });
    let down = agent.attach_container(ReceiverStream::new(requests)).await?.into_inner();
    let request = WaitContainerRequest { container: id.to_owned() };
    let mut waiting = agent.clone();
    let exit = tokio::spawn(async move { Ok(waiting.wait_container(request).await?.into_inner()) });
    Ok(Session { up, down, exit, options })
}

impl Session {
    /// Is the container's terminal until it ends; answers its exit code.
    ///
    /// # Errors
    /// When the agent stays away.
    pub(super) async fn run(self, global: &Global, agent: Node, id: &str) -> Result<u8, CommandError> {
        let options = self.options;
        let raw = if options.terminal { RawMode::enter().ok() } else { None };
        let mut input = options.stdin.then(read_stdin);
        let outcome = keep_attached(self, global, agent, id, &mut input).await;
        drop(raw);
        outcome
    }
}

async fn keep_attached(
    mut session: Session,
    global: &Global,
    mut agent: Node,
    id: &str,
    input: &mut Option<mpsc::Receiver<Vec<u8>>>,
) -> Result<u8, CommandError> {
    let options = session.options;
    loop {
        match relay(&mut session, &agent, id, input).await? {
            End::Reader => return Ok(output::READER_GONE),
            End::Agent => {}
            End::Output => match session.exit.await {
                Ok(Ok(done)) => return Ok(exit_code(&done)),
                Ok(Err(status)) if !is_gone(&status) => return Err(status.into()),
                Ok(Err(_)) | Err(_) => {}
            },
        }
        (agent, session) = match reconnect(global, id, options).await? {
            Some(again) => again,
            None => {
                return Err(CommandError::new(Kind::Run, "the container ended while the agent was away")
                    .hint("its exit code is lost, because --rm removed its record"));
            }
        };
    }
}

/// Why data is no longer passed.
enum End {
    /// All output has come.
    Output,
    /// The agent is gone.
    Agent,
    /// Nobody reads what comes. The container lives on, as in Docker.
    Reader,
}

/// Passes data both ways until one side has ended.
async fn relay(
    session: &mut Session,
    agent: &Node,
    id: &str,
    input: &mut Option<mpsc::Receiver<Vec<u8>>>,
) -> Result<End, CommandError> {
    let signals = |kind| {
        signal(kind).map_err(|error| CommandError::internal(format!("cannot wait for signals: {error}")))
    };
    let (mut resized, mut interrupted, mut ended) = (
        signals(SignalKind::window_change())?,
        signals(SignalKind::interrupt())?,
        signals(SignalKind::terminate())?,
    );
    if session.options.terminal {
        send_size(&session.up).await;
    }
    loop {
        tokio::select! {
            output = session.down.message() => match output {
                Ok(Some(chunk)) => if output::bytes(&chunk.data, chunk.stderr).is_err() {
                    return Ok(End::Reader);
                },
                Ok(None) => return Ok(End::Output),
                Err(status) if is_gone(&status) => return Ok(End::Agent),
                Err(status) => return Err(status.into()),
            },
            data = next(input) => {
                let message = match data {
                    Some(data) => Message::Stdin(data),
                    None => { *input = None; Message::StdinClosed(true) }
                };
                // A failed send means that the stream is gone; `down` says so too.
                let _ = session.up.send(AttachContainerRequest { message: Some(message) }).await;
            }
            _ = resized.recv(), if session.options.terminal => send_size(&session.up).await,
            _ = interrupted.recv(), if !session.options.terminal => kill(agent, id, 2).await,
            _ = ended.recv() => kill(agent, id, 15).await,
        }
    }
}

/// The next input; waits forever where there is none.
async fn next(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
            if sender.send(buffer[..count].to_vec()).await.is_err() {
                break;
            }
        }
    });
    receiver
}

async fn send_size(up: &mpsc::Sender<AttachContainerRequest>) {
    if let Some((rows, columns)) = terminal::size() {
        let message = Message::Resize(WindowSize { rows: rows.into(), columns: columns.into() });
        let _ = up.send(AttachContainerRequest { message: Some(message) }).await;
    }
}

async fn kill(agent: &Node, id: &str, signal: i32) {
    let request = KillContainerRequest { container: id.to_owned(), signal };
    if let Err(status) = agent.clone().kill_container(request).await {
        output::note(&format!("the signal did not reach the container: {}", status.message()));
    }
}

fn exit_code(done: &WaitContainerResponse) -> u8 {
    // One of its programs may have been killed and the container have gone on.
    if done.oom_killed && done.exit_code == KILLED {
        output::note("the container was killed: it used more memory than its limit");
    }
    u8::try_from(done.exit_code).unwrap_or(255)
}

/// Whether a status means that the agent itself went away.
fn is_gone(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown)
}

/// Attaches again, for as long as patience lasts; `None` if the container is gone.
async fn reconnect(
    global: &Global,
    id: &str,
    options: Options,
) -> Result<Option<(Node, Session)>, CommandError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let attempt = async {
            let mut agent = crate::cmd::agent(global).await?;
            let session = open(&mut agent, id, options).await?;
            Ok::<_, CommandError>((agent, session))
        };
        match attempt.await {
            Ok(again) => return Ok(Some(again)),
            Err(error) if error.kind == Kind::NotFound => return Ok(None),
            Err(error) if tokio::time::Instant::now() > deadline => {
                return Err(error.hint(format!(
                    "the container may still run:  ctl container ls; ctl container logs {id}"
                )));
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}
