//! `ctl container exec`: a further program in a running container, with a
//! terminal or pipes of its own. The exit code is the program's, as with
//! Docker; 126 and 127 mean that it could not be executed, 125 that Roadstead
//! failed. When the agent goes away the program lives on, and so does this side.

use std::process::ExitCode;

use proto::v1::exec_client::ExecClient;
use proto::v1::exec_session_request::Message as Request;
use proto::v1::exec_session_response::Message as Response;
use proto::v1::{
    ExecSessionRequest, ExecSessionResponse, ExecSpec, ExecStarted, KillExecRequest, StartExecRequest,
};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::attach::{PATIENCE, RETRY};
use super::detach::Keys;
use super::options::variables_of;
use super::session::{Down, End, Input, Line, Options, Up, relay};
use crate::cli::Global;
use crate::client::Host;
use crate::cmd::service::spec;
use crate::error::{CommandError, Kind};
use crate::terminal::RawMode;
use crate::{output, terminal};

type Client = ExecClient<Host>;

/// Run a program in a running container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep standard input open
    #[arg(long, short = 'i')]
    interactive: bool,
    /// Give it a terminal
    #[arg(long, short = 't')]
    tty: bool,
    /// Print the id of the process and do not wait
    #[arg(long, short = 'd')]
    detach: bool,
    /// Set a variable: NAME=VALUE
    #[arg(long, short = 'e', value_name = "VARIABLE", value_parser = spec::env)]
    env: Vec<String>,
    /// Set the variables in this file, one NAME=VALUE in a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<std::path::PathBuf>,
    /// Run as this user: UID[:GID] or a name of the container
    #[arg(long, short = 'u', default_value = "", hide_default_value = true)]
    user: String,
    /// Start in this directory
    #[arg(long, short = 'w', default_value = "", hide_default_value = true)]
    workdir: String,
    /// Give it every capability in the container, and no system call filter
    #[arg(long)]
    privileged: bool,
    /// Keys that leave a terminal
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: Keys,
    /// Id, unique beginning of it, or name
    container: String,
    /// Program and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// When it can't be run in the container.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let options = Options {
        stdin: args.interactive && !args.detach,
        terminal: args.tty,
        keys: args.detach_keys,
        ..Options::default()
    };
    if args.tty && options.stdin && !terminal::stdin_is_terminal() {
        return Err(CommandError::new(Kind::Usage, "standard input is no terminal, so --tty makes no sense")
            .hint("leave out --tty (-t), or run it from a terminal"));
    }
    let detach = args.detach;
    let spec = spec_of(args)?;
    let mut client = connect(global).await?;
    if detach {
        let request = StartExecRequest { spec: Some(spec) };
        output::line(&client.start(request).await?.into_inner().id);
        return Ok(ExitCode::SUCCESS);
    }
    let (line, started) = open(&mut client, Request::Start(spec)).await?;
    be_terminal(global, client, line, started, options).await
}

/// Is the terminal of a process that was started before.
///
/// # Errors
/// When there is no such process.
pub(super) async fn come_back(
    global: &Global,
    id: &str,
    mut options: Options,
) -> Result<ExitCode, CommandError> {
    let mut client = connect(global).await?;
    let (line, started) = open(&mut client, Request::Attach(id.to_owned())).await?;
    options.terminal = started.terminal;
    be_terminal(global, client, line, started, options).await
}

fn spec_of(args: Args) -> Result<ExecSpec, CommandError> {
    let mut env = variables_of(&args.env_file)?;
    env.extend(args.env);
    let (rows, columns) = terminal::size().filter(|_| args.tty).unwrap_or((24, 80));
    Ok(ExecSpec {
        container: args.container,
        command: args.command,
        env,
        user: args.user,
        working_dir: args.workdir,
        privileged: args.privileged,
        terminal: args.tty,
        stdin: args.interactive,
        rows: rows.into(),
        columns: columns.into(),
    })
}

async fn connect(global: &Global) -> Result<Client, CommandError> {
    crate::cmd::host(global).await.map(ExecClient::new)
}

async fn open(client: &mut Client, first: Request) -> Result<(Line, ExecStarted), CommandError> {
    let (up, requests) = mpsc::channel(16);
    let requests = tokio_stream::once(message(first)).chain(ReceiverStream::new(requests).map(upward));
    let mut down: Streaming<ExecSessionResponse> = client.session(requests).await?.into_inner();
    let started = match down.message().await?.and_then(|first| first.message) {
        Some(Response::Started(started)) => started,
        _ => return Err(CommandError::internal("the agent did not say what it started")),
    };
    let down = Box::pin(down.map(|message| message.map(downward)));
    Ok((Line { up, down }, started))
}

fn message(message: Request) -> ExecSessionRequest {
    ExecSessionRequest { message: Some(message) }
}

fn upward(up: Up) -> ExecSessionRequest {
    message(match up {
        Up::Stdin(data) => Request::Stdin(data),
        Up::Resize(size) => Request::Resize(size),
        Up::StdinClosed => Request::StdinClosed(true),
    })
}

fn downward(message: ExecSessionResponse) -> Down {
    match message.message {
        Some(Response::Output(piece)) => Down::Output { data: piece.data, stderr: piece.stderr },
        Some(Response::Exited(exited)) => Down::Exited(exited.exit_code),
        Some(Response::Started(_)) | None => Down::Nothing,
    }
}

async fn be_terminal(
    global: &Global,
    client: Client,
    line: Line,
    started: ExecStarted,
    options: Options,
) -> Result<ExitCode, CommandError> {
    let raw = if options.terminal { RawMode::enter().ok() } else { None };
    let outcome = keep_attached(global, client, line, &started.id, options).await;
    drop(raw);
    if let Ok(None) = outcome {
        let id = &started.id;
        output::note(&format!(
            "\nleft; the process goes on. Come back with:  ctl container attach --exec {id}"
        ));
    }
    Ok(ExitCode::from(outcome?.unwrap_or(0)))
}

/// Answers the exit code; `None` when the user left.
async fn keep_attached(
    global: &Global,
    mut client: Client,
    mut line: Line,
    id: &str,
    options: Options,
) -> Result<Option<u8>, CommandError> {
    let mut input = Input::new(options);
    loop {
        let signal = async |signal| kill(&client, id, signal).await;
        match relay(&mut line, &mut input, options, signal).await? {
            End::Reader => return Ok(Some(output::READER_GONE)),
            End::Left => return Ok(None),
            End::Exited(code) => return Ok(Some(u8::try_from(code).unwrap_or(255))),
            End::Agent | End::Output => {}
        }
        (client, line) = reconnect(global, id).await?;
    }
}

async fn kill(client: &Client, id: &str, signal: i32) {
    let request = KillExecRequest { id: id.to_owned(), signal };
    if let Err(status) = client.clone().kill(request).await {
        output::note(&format!("the signal did not reach the process: {}", status.message()));
    }
}

/// Attaches again, for as long as patience lasts.
async fn reconnect(global: &Global, id: &str) -> Result<(Client, Line), CommandError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let attempt = async {
            let mut client = connect(global).await?;
            let (line, _) = open(&mut client, Request::Attach(id.to_owned())).await?;
            Ok::<_, CommandError>((client, line))
        };
        match attempt.await {
            Ok(again) => return Ok(again),
            Err(error) if error.kind == Kind::NotFound => {
                return Err(CommandError::new(
                    Kind::Run,
                    "the process is gone, and nobody knows how it ended",
                )
                .hint("its container or the keeper may have ended:  ctl container ls --all"));
            }
            Err(error) if tokio::time::Instant::now() > deadline => {
                return Err(
                    error.hint(format!("the process may still run:  ctl container attach --exec {id}"))
                );
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}
