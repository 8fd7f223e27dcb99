//! Lets a further process into a running container: it is made up to its program, compared with what was asked for,
//! and only then executes it. One that differs is killed.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use agent_runtime::attest::AttestError;
use agent_runtime::container::{ContainerSpec, ExecSpec};
use agent_runtime::keeper::client::{Client, ClientError};
use agent_runtime::keeper::protocol::ErrorKind;

use super::ContainerEventKind;
use super::lifecycle::SIGKILL;
use super::record::{Entry, short};
use crate::EngineError;
use crate::attestor::Attestor;
use crate::engine::Inner;

/// A process that is to be sent into a container.
pub(crate) struct Further {
    pub(crate) spec: ExecSpec,
    /// What the container was made from.
    pub(crate) container: ContainerSpec,
    /// Attached from its first byte.
    pub(crate) socket: Option<UnixStream>,
}

/// Why it does not run.
enum Failed {
    Keeper(ClientError),
    Attestation(AttestError),
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Failed::Keeper(error)
    }
}

impl Inner {
    /// Runs it; answers its process id.
    pub(crate) async fn admit(&self, entry: &Arc<Entry>, further: Further) -> Result<i32, EngineError> {
        let (attestor, of) = (Arc::clone(&self.attestor), Arc::clone(entry));
        let exec = further.spec.id.clone();
        let trace = entry.live().record.config.traceparent.clone();
        let ask = move |client: &mut Client| send_in(client, &further, &of, &attestor);
        match self.keeper.run(trace, ask).await? {
            Ok(pid) => Ok(pid),
            Err(Failed::Keeper(error)) => Err(exec_failed(entry, &error)),
            Err(Failed::Attestation(error)) if error.has_ended() => Err(not_running(entry)),
            Err(Failed::Attestation(error)) => {
                tracing::error!(container = entry.id, exec, %error, "a process was stopped before its program ran");
                let kind = ContainerEventKind::AttestFailed { exec: Some(exec), reason: error.to_string() };
                self.tell(entry, kind);
                let reason = format!("{error}; its program was not run, please report this as a bug");
                Err(EngineError::Exec { id: short(&entry.id), reason, exit_code: 125 })
            }
        }
    }
}

fn send_in(
    client: &mut Client,
    further: &Further,
    entry: &Entry,
    attestor: &Attestor,
) -> Result<i32, Failed> {
    let Further { spec, container, socket } = further;
    let (pid, held) = client.exec_held(&entry.id, spec, socket.as_ref().map(AsFd::as_fd))?;
    if !held {
        // It runs already, and may by now be what no specification said.
        tracing::warn!(
            keeper = client.pid(),
            "this keeper is older than the agent and cannot hold a process: it was not compared"
        );
        return Ok(pid);
    }
    // Not before: the container may have been restarted since it was asked for.
    let first = entry.live().pid.unwrap_or_default();
    if let Err(error) = attestor.check_exec((container, spec), (pid, first), client.pid()) {
        // It would end with this connection as well.
        let _ = client.kill(&spec.id, SIGKILL);
        return Err(Failed::Attestation(error));
    }
    client.let_in(&spec.id)?;
    Ok(pid)
}

fn not_running(entry: &Entry) -> EngineError {
    let needs = "a process can only be run in a running one";
    EngineError::State { id: short(&entry.id), state: entry.state(), needs }
}

fn exec_failed(entry: &Entry, error: &ClientError) -> EngineError {
    let exit_code = match error {
        ClientError::Refused { kind: ErrorKind::NoProgram, .. } => 127,
        ClientError::Refused { kind: ErrorKind::NotExecutable, .. } => 126,
        ClientError::Refused { kind: ErrorKind::State | ErrorKind::NotFound, .. } => {
            return not_running(entry);
        }
        _ => 125,
    };
    EngineError::Exec { id: short(&entry.id), reason: error.to_string(), exit_code }
}
