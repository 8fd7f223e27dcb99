//! Further processes in containers: made without waiting for them, reaped, told about, ended with their
//! container.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::event::epoll::EventFlags;
use rustix::process::{WaitId, WaitIdOptions};

use super::Server;
use super::poller::Target;
use super::requests::Refused;
use super::verbs::{attachable, in_state};
use crate::container::ExecSpec;
use crate::keeper::execution::{Entering, Execution, Gate, Running, Stage};
use crate::keeper::protocol::{ContainerState, ErrorKind, Reply};
use crate::keeper::stream::Streams;
use crate::keeper::{Exit, time};
use crate::process::{JoinError, Progress, StartError, join};

/// So many further processes may live in one container.
const MAX_LIVING: usize = 256;
/// So many ends are remembered for those who have not heard of them.
const MAX_ENDED: usize = 1024;

/// How a further process is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// What came along to be attached, where something was to.
    pub(super) socket: Option<Option<OwnedFd>>,
    /// Whether it waits at its gate until it is let in.
    pub(super) hold: bool,
}

impl Server {
    /// Sends a process into a container; answered when it runs or has failed.
    pub(super) fn exec(
        &mut self,
        token: u64,
        container: &str,
        spec: &ExecSpec,
        asked: Asked,
    ) -> Option<Result<Reply, Refused>> {
        match self.send_in(token, container, spec, asked) {
            Ok(()) => {
                if let Some(client) = self.clients.get_mut(&token) {
                    client.waiting = true;
                }
                None
            }
            Err(refused) => Some(Err(refused)),
        }
    }

    fn send_in(&mut self, token: u64, container: &str, spec: &ExecSpec, asked: Asked) -> Result<(), Refused> {
        let socket = asked.socket.map(attachable).transpose()?;
        if self.containers.contains_key(spec.id.as_str()) || self.executions.contains_key(spec.id.as_str()) {
            return Err(Refused::new(ErrorKind::Exists, format!("process {:?} exists", spec.id)));
        }
        let living = self.executions.values().filter(|one| &*one.container == container);
        if living.filter(|one| one.process().is_some()).count() >= MAX_LIVING {
            let message = format!("{MAX_LIVING} processes were sent into {container} already");
            return Err(Refused::new(ErrorKind::State, message));
        }
        let held = self.containers.get_mut(container).ok_or_else(|| Refused::not_found(container))?;
        let state = held.state();
        let (cgroup, namespaces, container) = (held.cgroup.clone(), held.namespaces.clone(), held.id.clone());
        let alive = held.alive().filter(|_| state == ContainerState::Running);
        let init = alive.ok_or_else(|| in_state(&container, state))?.process.fd.as_fd();
        let failed = |error: &dyn std::fmt::Display| Refused::new(ErrorKind::Failed, error.to_string());
        let (joining, pidfd) =
            join(spec, init, &namespaces, &cgroup, &self.staging).map_err(|error| failed(&error))?;
        let id: Rc<str> = spec.id.as_str().into();
        let pid = joining.pid;
        let mut watch = self.poller.token(Target::Joining(id.clone()));
        let watched = self
            .poller
            .want(joining.as_fd(), &mut watch, Some(EventFlags::IN))
            .and_then(|()| self.poller.adopt(pidfd, Target::Execution(id.clone()), Some(EventFlags::IN)));
        // Without its descriptor the process is reaped as a stray: dropping `joining` ends it.
        let process = watched.map_err(|error| failed(&error))?;
        let gate = if asked.hold { Gate::Hold } else { Gate::Open };
        let asker = Some(token);
        let entering =
            Entering { process, joining, watch, socket, streams: None, asker, gate, failed: false };
        let stage = Stage::Joining(Box::new(entering));
        let terminal = spec.terminal.is_some();
        self.executions.insert(id.clone(), Execution { id, container, pid, terminal, stage });
        Ok(())
    }

    /// A process on its way in has something to say.
    pub(super) fn joining_ready(&mut self, id: &Rc<str>) {
        let Some(Execution { stage: Stage::Joining(entering), .. }) = self.executions.get_mut(id) else {
            return;
        };
        if entering.failed {
            return;
        }
        match entering.joining.advance() {
            Ok(Progress::Waiting) => {}
            Ok(Progress::AtGate) => self.at_gate(id),
            Ok(Progress::Runs) => self.runs(id),
            Ok(Progress::Streams(ends)) => {
                let socket = entering.socket.take();
                let streams = Streams::new(id, ends, None, &mut self.poller).and_then(|mut streams| {
                    socket.map_or(Ok(()), |socket| streams.attach(id, socket, &mut self.poller))?;
                    Ok(streams)
                });
                match streams {
                    Ok(streams) => entering.streams = Some(streams),
                    Err(source) => self.join_failed(id, &StartError::Lost { source }.into()),
                }
            }
            Err(error) => self.join_failed(id, &error),
        }
    }

    /// Everything is made: it goes on, or it is somebody's to look at first.
    fn at_gate(&mut self, id: &Rc<str>) {
        let Some(execution) = self.executions.get_mut(id) else { return };
        let pid = execution.pid;
        let Stage::Joining(entering) = &mut execution.stage else { return };
        match (entering.gate, entering.asker) {
            (Gate::Hold, Some(asker)) => {
                entering.gate = Gate::Held(asker);
                entering.asker = None;
                self.reply(asker, &Reply::Created { pid, timings: Vec::new(), held: true });
                self.settle_client(asker);
            }
            // Who asked has gone, and it was killed for that.
            (Gate::Hold | Gate::Held(_), _) => {}
            (Gate::Open, _) => {
                if let Err(error) = entering.joining.go() {
                    self.join_failed(id, &error.into());
                }
            }
        }
    }

    /// Opens the gate of a process that is held; answered when it runs or has failed.
    pub(super) fn let_in(&mut self, token: u64, id: &str) -> Option<Result<Reply, Refused>> {
        let held = self.executions.get_mut(id).and_then(|execution| match &mut execution.stage {
            Stage::Joining(entering) if entering.gate == Gate::Held(token) => Some((&execution.id, entering)),
            _ => None,
        });
        let Some((id, entering)) = held else {
            return Some(Err(Refused::new(
                ErrorKind::State,
                format!("process {id} waits for nobody's word"),
            )));
        };
        let id = id.clone();
        entering.gate = Gate::Open;
        entering.asker = Some(token);
        if let Some(client) = self.clients.get_mut(&token) {
            client.waiting = true;
        }
        self.at_gate(&id);
        None
    }

    fn runs(&mut self, id: &str) {
        let Some(execution) = self.executions.get_mut(id) else { return };
        let pid = execution.pid;
        let ended = Stage::Ended(Exit { code: 255, signal: None, oom_killed: false, at_ms: time::now_ms() });
        let Stage::Joining(entering) = std::mem::replace(&mut execution.stage, ended) else { return };
        let Entering { process, joining, watch, streams, asker, .. } = *entering;
        self.poller.forget(joining.as_fd(), watch);
        // It cannot have come to its gate without streams.
        if let Some(streams) = streams {
            execution.stage = Stage::Running(Box::new(Running { process, streams }));
        }
        if let Some(asker) = asker {
            self.reply(asker, &Reply::Created { pid, timings: Vec::new(), held: false });
            self.settle_client(asker);
        }
    }

    /// Tells why; the process ends by itself, and its end is then no news.
    fn join_failed(&mut self, id: &str, error: &JoinError) {
        self.journal.line(&format!("exec {id} failed: {error}"), None);
        let Some(Execution { stage: Stage::Joining(entering), .. }) = self.executions.get_mut(id) else {
            return;
        };
        entering.failed = true;
        // Whatever kept it from its program, it is not to go on.
        let _ = crate::sys::signal::send(entering.process.fd.as_fd(), libc::SIGKILL);
        let _ = self.poller.want(entering.joining.as_fd(), &mut entering.watch, None);
        let Some(asker) = entering.asker.take() else { return };
        let reply = Reply::Error { kind: kind_of(error), message: error.to_string() };
        self.reply(asker, &reply);
        self.settle_client(asker);
    }

    /// Who asked for a process that is not in yet has gone: it need not come.
    pub(super) fn give_up_joining(&mut self, token: u64) {
        for execution in self.executions.values_mut() {
            if let Stage::Joining(entering) = &mut execution.stage
                && (entering.asker == Some(token) || entering.gate == Gate::Held(token))
            {
                entering.asker = None;
                let _ = crate::sys::signal::send(entering.process.fd.as_fd(), libc::SIGKILL);
            }
        }
    }

    pub(super) fn execution_ended(&mut self, id: &Rc<str>) {
        // What it said last comes first: whether it ran its program decides what its end means.
        for _ in 0..4 {
            self.joining_ready(id);
        }
        let Some(execution) = self.executions.get_mut(id) else { return };
        let Some(process) = execution.process() else { return };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let (code, signal) = match rustix::process::waitid(WaitId::PidFd(process), options) {
            Ok(Some(status)) => {
                let signal = status.terminating_signal();
                (status.exit_status().unwrap_or(128 + signal.unwrap_or(127)), signal)
            }
            // Not ended after all.
            Ok(None) => return,
            Err(_) => (255, None),
        };
        let exit = Exit { code, signal, oom_killed: false, at_ms: time::now_ms() };
        let container = execution.container.clone();
        match std::mem::replace(&mut execution.stage, Stage::Ended(exit.clone())) {
            Stage::Running(running) => {
                let finished = running.streams.finish(&mut self.buffer, &mut self.poller);
                self.poller.close(running.process);
                self.let_go(id, finished);
                let (id, container) = (id.to_string(), container.to_string());
                self.broadcast(&Reply::ExecExited { id, container, exit });
                self.forget_oldest();
            }
            Stage::Joining(entering) => {
                self.poller.forget(entering.joining.as_fd(), entering.watch);
                if let Some(streams) = entering.streams {
                    let finished = streams.finish(&mut self.buffer, &mut self.poller);
                    self.let_go(id, finished);
                }
                self.poller.close(entering.process);
                self.executions.remove(id);
            }
            Stage::Ended(_) => {}
        }
        if !self.containers.contains_key(&container) {
            self.executions.remove(id);
        }
        self.reap_strays();
    }

    /// A container has ended: with process ids of its own the kernel has ended everything in it, else it is done here.
    pub(super) fn end_executions(&mut self, container: &str) {
        let mut inside = self.executions.values().filter(|one| &*one.container == container);
        let lives = inside.any(|one| one.process().is_some());
        if lives && let Some(held) = self.containers.get(container) {
            // What resists keeps the cgroup, which the next removal tries again.
            let _ = held.cgroup.kill_all();
        }
    }

    /// Forgets the ends of processes of a container that is forgotten itself.
    pub(super) fn forget_executions(&mut self, container: &str) {
        self.executions.retain(|_, one| &*one.container != container || one.process().is_some());
    }

    pub(super) fn forget_exec(&mut self, id: &str) -> Result<Reply, Refused> {
        match self.executions.get(id) {
            Some(execution) if execution.process().is_some() => {
                Err(Refused::new(ErrorKind::State, format!("process {id} runs")))
            }
            _ => {
                self.executions.remove(id);
                Ok(Reply::Done)
            }
        }
    }

    fn forget_oldest(&mut self) {
        let ended = |one: &Execution| match &one.stage {
            Stage::Ended(exit) => Some((exit.at_ms, one.id.clone())),
            _ => None,
        };
        let all: Vec<_> = self.executions.values().filter_map(ended).collect();
        if all.len() > MAX_ENDED
            && let Some((_, oldest)) = all.into_iter().min()
        {
            self.executions.remove(&oldest);
        }
    }
}

fn kind_of(error: &JoinError) -> ErrorKind {
    match error {
        JoinError::Start(StartError::NotFound { .. }) => ErrorKind::NoProgram,
        JoinError::Start(StartError::NotExecutable { .. }) => ErrorKind::NotExecutable,
        _ => ErrorKind::Failed,
    }
}
