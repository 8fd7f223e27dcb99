//! The gRPC service `Exec`: further processes in running containers. A session is the process' terminal or pipes
//! until it has ended or the client hangs up, which the process does not notice.

use agent_engine::{Attachment, Engine, ExecConfig};
use proto::v1;
use proto::v1::exec_server::Exec;
use proto::v1::exec_session_request::Message as Up;
use proto::v1::exec_session_response::Message as Down;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, debug};

use super::attach::{Output, output_down};
use super::{Answers, Api, STREAM_QUEUE, traced};
use crate::{convert, error};

/// Signals have numbers from 1 to this.
const SIGNAL_MAX: i32 = 64;

#[tonic::async_trait]
impl Exec for Api {
    type SessionStream = Answers<v1::ExecSessionResponse>;

    async fn session(
        &self,
        request: Request<Streaming<v1::ExecSessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        traced("ExecSession", request, async |requests| session(self, requests).await).await
    }

    async fn start(
        &self,
        request: Request<v1::StartExecRequest>,
    ) -> Result<Response<v1::StartExecResponse>, Status> {
        traced("StartExec", request, async |request| start(self, request).await).await
    }

    async fn kill(
        &self,
        request: Request<v1::KillExecRequest>,
    ) -> Result<Response<v1::KillExecResponse>, Status> {
        traced("KillExec", request, async |request| kill(self, &request).await).await
    }
}

async fn start(api: &Api, request: v1::StartExecRequest) -> Result<v1::StartExecResponse, Status> {
    let spec = request.spec.ok_or_else(|| error::invalid_field("spec", "it is missing"))?;
    let container = spec.container.clone();
    let started = api.engine.exec(&container, config(spec, false)).await;
    let (exec, _) = started.map_err(|fault| error::engine(&fault))?;
    Ok(v1::StartExecResponse { id: exec.id })
}

async fn kill(api: &Api, request: &v1::KillExecRequest) -> Result<v1::KillExecResponse, Status> {
    if !(1..=SIGNAL_MAX).contains(&request.signal) {
        let rule = format!("{} is not a signal from 1 to {SIGNAL_MAX}", request.signal);
        return Err(error::invalid_field("signal", rule));
    }
    api.engine.exec_kill(&request.id, request.signal).await.map_err(|fault| error::engine(&fault))?;
    Ok(v1::KillExecResponse {})
}

fn config(spec: v1::ExecSpec, attach: bool) -> ExecConfig {
    ExecConfig {
        command: spec.command,
        env: spec.env,
        user: spec.user,
        working_dir: spec.working_dir,
        privileged: spec.privileged,
        terminal: spec.terminal,
        open_stdin: spec.stdin,
        window: convert::window(spec.rows, spec.columns),
        attach,
        quiet: false,
    }
}

async fn session(
    api: &Api,
    mut requests: Streaming<v1::ExecSessionRequest>,
) -> Result<Answers<v1::ExecSessionResponse>, Status> {
    let (id, attachment) = match requests.message().await?.and_then(|first| first.message) {
        Some(Up::Start(spec)) => {
            let container = spec.container.clone();
            let started = api.engine.exec(&container, config(spec, true)).await;
            let (exec, attachment) = started.map_err(|fault| error::engine(&fault))?;
            (exec.id, attachment.ok_or_else(|| Status::internal("the process has no streams"))?)
        }
        Some(Up::Attach(id)) => {
            let attachment = api.engine.exec_attach(&id).await.map_err(|fault| error::engine(&fault))?;
            (id, attachment)
        }
        _ => return Err(error::invalid_field("start", "the first message says what to run or attach to")),
    };
    let (to, stream) = mpsc::channel(STREAM_QUEUE);
    let started = v1::ExecStarted { id: id.clone(), terminal: attachment.raw };
    // The channel is new and has room.
    let _ = to.try_send(Ok(message(Down::Started(started))));
    let engine = api.engine.clone();
    let work = async move {
        let raw = attachment.raw;
        let (from, input) = tokio::io::split(attachment);
        let (output, gone) = (Output { to: to.clone(), say: said }, to);
        tokio::select! {
            () = output_down(from, raw, &output) => tell_exit(&engine, &id, &gone).await,
            // When the client is gone both halves are dropped, and with them the attachment.
            () = input_up(&engine, &id, requests, input) => gone.closed().await,
        }
    };
    tokio::spawn(work.in_current_span());
    Ok(Box::pin(ReceiverStream::new(stream)))
}

fn message(message: Down) -> v1::ExecSessionResponse {
    v1::ExecSessionResponse { message: Some(message) }
}

fn said(data: Vec<u8>, stderr: bool) -> v1::ExecSessionResponse {
    message(Down::Output(v1::ExecOutput { data, stderr }))
}

/// Follows all of the output.
async fn tell_exit(engine: &Engine, id: &str, to: &mpsc::Sender<Result<v1::ExecSessionResponse, Status>>) {
    let exit = tokio::select! {
        exit = engine.exec_wait(id) => exit,
        () = to.closed() => return,
    };
    let answer = match exit {
        Ok(exit) => Ok(message(Down::Exited(v1::ExecExited { exit_code: exit.code }))),
        Err(fault) => Err(error::engine(&fault)),
    };
    let _ = to.send(answer).await;
}

/// Ends when the client has nothing more to say or is gone.
async fn input_up(
    engine: &Engine,
    id: &str,
    mut requests: Streaming<v1::ExecSessionRequest>,
    to: WriteHalf<Attachment>,
) {
    let mut to = Some(to);
    while let Ok(Some(request)) = requests.message().await {
        match request.message {
            Some(Up::Stdin(data)) => {
                if let Some(stdin) = &mut to
                    && let Err(fault) = stdin.write_all(&data).await
                {
                    debug!(exec = id, %fault, "its input is closed");
                    to = None;
                }
            }
            Some(Up::Resize(size)) => {
                if let Some(size) = convert::window(size.rows, size.columns)
                    && let Err(fault) = engine.exec_resize(id, size).await
                {
                    debug!(exec = id, %fault, "not resized");
                }
            }
            Some(Up::StdinClosed(true)) => {
                if let Some(mut stdin) = to.take() {
                    let _ = stdin.shutdown().await;
                }
            }
            Some(Up::StdinClosed(false) | Up::Start(_) | Up::Attach(_)) | None => {}
        }
    }
}
