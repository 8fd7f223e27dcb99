//! `ctl container attach`, and being a container's terminal for `run` and
//! `start` too. When the agent goes away (an upgrade, a crash) the container
//! lives on, so this side reconnects and goes on with it.

use std::process::ExitCode;
use std::time::Duration;

use proto::v1::attach_container_request::Message;
use proto::v1::{
    AttachContainerRequest, AttachContainerResponse, AttachOpen, AttachOpened, KillContainerRequest,
    WaitContainerRequest, WaitContainerResponse,
};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::detach::Keys;
use super::exec;
pub(super) use super::session::Options;
use super::session::{Down, End, Input, Line, Up, is_gone, relay};
use crate::cli::Global;
use crate::client::Node;
use crate::error::{CommandError, Kind};
use crate::output;
use crate::terminal::RawMode;

/// How long a lost agent is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// The exit code of a program that SIGKILL ended.
const KILLED: i32 = 137;

/// Be the terminal of a running container again
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not send standard input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on; without it Ctrl-C leaves and the container goes on
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true)]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Keys that leave a terminal
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: Keys,
    /// CONTAINER is the id of a process that `container exec` started
    #[arg(long)]
    exec: bool,
    /// Id, unique beginning of it, or name
    container: String,
}

/// Attaches.
///
/// # Errors
/// When there is nothing running to attach to.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let keep_signals = !args.sig_proxy;
    let options =
        Options { stdin: !args.no_stdin, keep_signals, keys: args.detach_keys, ..Options::default() };
    if args.exec {
        return exec::come_back(global, &args.container, options).await;
    }
    let mut agent = crate::cmd::agent(global).await?;
    let (mut session, opened) = describe(&mut agent, &args.container, options).await?;
    if !opened.running {
        return Err(CommandError::new(Kind::Invalid, format!("container {} does not run", opened.name))
            .hint(format!("start it:  ctl container start --attach {}", opened.name)));
    }
    session.options.terminal = opened.terminal;
    session.options.stdin &= opened.stdin;
    let code = session.run(global, agent, &opened.id).await?;
    Ok(ExitCode::from(code))
}

/// An open attachment.
pub(super) struct Session {
    line: Line,
    /// Asked for before there is an end, so that the answer does not depend on how long the record outlives it.
    exit: tokio::task::JoinHandle<Result<WaitContainerResponse, tonic::Status>>,
    options: Options,
}

/// Attaches to a container.
///
/// # Errors
/// When there is no such container.
pub(super) async fn open(agent: &mut Node, id: &str, options: Options) -> Result<Session, CommandError> {
    open_at(agent, id, options, false).await
}

/// Attaches to a container; to one that has ended, from its next start on.
///
/// # Errors
/// When there is no such container.
pub(super) async fn open_next(agent: &mut Node, id: &str, options: Options) -> Result<Session, CommandError> {
    open_at(agent, id, options, true).await
}

async fn open_at(
    agent: &mut Node,
    id: &str,
    options: Options,
    next_start: bool,
) -> Result<Session, CommandError> {
    let (up, requests) = mpsc::channel(16);
    let first = Message::Open(AttachOpen { container: id.to_owned(), describe: false, next_start });
    let requests = tokio_stream::once(message(first)).chain(ReceiverStream::new(requests).map(upward));
    let down = agent.attach_container(requests).await?.into_inner();
    let down = Box::pin(down.map(|message| message.map(downward)));
    Ok(Session { line: Line { up, down }, exit: ask_exit(agent, id, next_start), options })
}

/// As [`open`], and says what it is attached to.
async fn describe(
    agent: &mut Node,
    id: &str,
    options: Options,
) -> Result<(Session, AttachOpened), CommandError> {
    let (up, requests) = mpsc::channel(16);
    let first = Message::Open(AttachOpen { container: id.to_owned(), describe: true, next_start: false });
    let requests = tokio_stream::once(message(first)).chain(ReceiverStream::new(requests).map(upward));
    let mut down = agent.attach_container(requests).await?.into_inner();
    let opened = down.message().await?.and_then(|first| first.opened).unwrap_or_default();
    let down = Box::pin(down.map(|message| message.map(downward)));
    let exit = ask_exit(agent, &opened.id, false);
    Ok((Session { line: Line { up, down }, exit, options }, opened))
}

fn ask_exit(
    agent: &Node,
    id: &str,
    next_exit: bool,
) -> tokio::task::JoinHandle<Result<WaitContainerResponse, tonic::Status>> {
    let request = WaitContainerRequest { container: id.to_owned(), next_exit };
    let mut waiting = agent.clone();
    tokio::spawn(async move { Ok(waiting.wait_container(request).await?.into_inner()) })
}

fn message(message: Message) -> AttachContainerRequest {
    AttachContainerRequest { message: Some(message) }
}

fn upward(up: Up) -> AttachContainerRequest {
    message(match up {
        Up::Stdin(data) => Message::Stdin(data),
        Up::Resize(size) => Message::Resize(size),
        Up::StdinClosed => Message::StdinClosed(true),
    })
}

fn downward(message: AttachContainerResponse) -> Down {
    Down::Output { data: message.data, stderr: message.stderr }
}

impl Session {
    /// Is the container's terminal until it ends; answers its exit code.
    ///
    /// # Errors
    /// When the agent stays away.
    pub(super) async fn run(self, global: &Global, agent: Node, id: &str) -> Result<u8, CommandError> {
        let options = self.options;
        let raw = if options.terminal { RawMode::enter().ok() } else { None };
        let mut input = Input::new(options);
        let outcome = keep_attached(self, global, agent, id, &mut input).await;
        drop(raw);
        if let Ok(None) = outcome {
            output::note(&format!(
                "\nleft; the container goes on. Come back with:  ctl container attach {}",
                id.get(..12).unwrap_or(id)
            ));
        }
        Ok(outcome?.unwrap_or(0))
    }
}

/// Answers the exit code; `None` when the user left.
async fn keep_attached(
    mut session: Session,
    global: &Global,
    mut agent: Node,
    id: &str,
    input: &mut Input,
) -> Result<Option<u8>, CommandError> {
    let options = session.options;
    loop {
        let signal = async |signal| kill(&agent, id, signal).await;
        match relay(&mut session.line, input, options, signal).await? {
            End::Reader => return Ok(Some(output::READER_GONE)),
            End::Left => return Ok(None),
            End::Agent => {}
            End::Exited(code) => return Ok(Some(u8::try_from(code).unwrap_or(255))),
            End::Output => match session.exit.await {
                Ok(Ok(done)) => return Ok(Some(exit_code(&done))),
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

async fn kill(agent: &Node, id: &str, signal: i32) {
    let request = KillContainerRequest { container: id.to_owned(), signal, signal_name: String::new() };
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
