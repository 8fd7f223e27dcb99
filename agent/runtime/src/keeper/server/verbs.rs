//! What clients can do to containers. Each verb checks first and changes
//! nothing when it refuses.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::fs::{Mode, OFlags, open};
use rustix::net::sockopt::socket_type;

use super::Server;
use super::poller::Target;
use super::requests::Refused;
use crate::container::{ContainerSpec, WindowSize};
use crate::keeper::execution::Execution;
use crate::keeper::exit;
use crate::keeper::held::{Alive, Held, Phase};
use crate::keeper::log::Log;
use crate::keeper::protocol::{ContainerState, ErrorKind, Reply};
use crate::keeper::stream::{MAX_PEERS, Streams};
use crate::process::{self, Ends, Spawned, StartError};

/// The last real-time signal.
const LAST_SIGNAL: i32 = 64;

impl Server {
    pub(super) fn create(
        &mut self,
        spec: &ContainerSpec,
        netns: Option<&OwnedFd>,
        mounts: Vec<OwnedFd>,
        trace: Option<String>,
    ) -> Result<Reply, Refused> {
        if self.stopping.is_some() {
            return Err(Refused::new(ErrorKind::State, "the keeper is shutting down"));
        }
        if self.containers.contains_key(spec.id.as_str()) {
            return Err(Refused::new(ErrorKind::Exists, format!("container {:?} exists", spec.id)));
        }
        let trace = trace.or_else(|| spec.traceparent.clone());
        let begun = Instant::now();
        match self.make(spec, netns, mounts, trace.clone()) {
            Ok((pid, mut timings)) => {
                let all = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                timings.push(("keeper create".to_owned(), all));
                self.journal.line(&format!("create {} pid={pid} us={all}", spec.id), trace.as_deref());
                Ok(Reply::Created { pid, timings, held: false })
            }
            Err(error) => {
                self.journal.line(&format!("create {} failed: {error}", spec.id), trace.as_deref());
                self.reap_strays();
                Err(Refused::new(ErrorKind::Failed, error.to_string()))
            }
        }
    }

    fn make(
        &mut self,
        spec: &ContainerSpec,
        netns: Option<&OwnedFd>,
        mounts: Vec<OwnedFd>,
        traceparent: Option<String>,
    ) -> Result<(i32, Vec<(String, u64)>), CreateFailed> {
        let of = |what: &'static str| move |error| CreateFailed::Records(what, error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let state_dir = open(&spec.state_dir, flags, Mode::empty())
            .map_err(|error| of("state directory")(error.into()))?;
        let log = Log::open(&state_dir, &spec.id, &spec.log).map_err(of("log"))?;
        let spawned = process::create_with(spec, netns.map(AsFd::as_fd), mounts, &self.staging)?;
        let Spawned { pid, pidfd, stdin, stdout, stderr, terminal, gate, cgroup, namespaces, timings } =
            spawned;
        let id: Rc<str> = spec.id.as_str().into();
        let ends = Ends { stdin, stdout, stderr, terminal };
        let watched = Streams::new(&id, ends, log, &mut self.poller).and_then(|streams| {
            let process = self.poller.adopt(pidfd, Target::Process(id.clone()), Some(EventFlags::IN))?;
            Ok((streams, process))
        });
        let (streams, process) = match watched {
            Ok(watched) => watched,
            Err(error) => {
                // Dropping the gate ends the process; removing the cgroup waits for that.
                drop(gate);
                let _ = cgroup.kill_all();
                let _ = cgroup.remove();
                return Err(CreateFailed::Records("process", error));
            }
        };
        let alive = Alive {
            process,
            gate: Some(gate),
            start_failed: false,
            streams,
            state_dir,
            throw_away: spec.throw_away,
        };
        let phase = Phase::Alive(Box::new(alive));
        let deleters = Vec::new();
        self.containers
            .insert(id.clone(), Held { id, pid, cgroup, namespaces, phase, traceparent, deleters });
        Ok((pid, timings))
    }

    pub(super) fn start(&mut self, id: &str, trace: Option<&str>) -> Result<Reply, Refused> {
        let held = self.containers.get_mut(id).ok_or_else(|| Refused::not_found(id))?;
        let state = held.state();
        let Some(gate) = held.alive().and_then(|alive| alive.gate.take()) else {
            return Err(in_state(id, state));
        };
        match gate.open() {
            Ok(()) => {
                if let Some(Err(error)) = held.alive().map(|alive| exit::begin(&alive.state_dir)) {
                    self.journal.line(&format!("start {id} is not noted: {error}"), trace);
                }
                Ok(Reply::Done)
            }
            Err(error) => {
                if let Some(alive) = held.alive() {
                    alive.start_failed = true;
                }
                self.journal.line(&format!("start {id} failed: {error}"), trace);
                let kind = match error {
                    StartError::NotFound { .. } => ErrorKind::NoProgram,
                    StartError::NotExecutable { .. } => ErrorKind::NotExecutable,
                    StartError::Lost { .. } => ErrorKind::Failed,
                };
                Err(Refused::new(kind, error.to_string()))
            }
        }
    }

    pub(super) fn kill(&mut self, id: &str, signal: i32) -> Result<Reply, Refused> {
        let process = match self.containers.get_mut(id) {
            Some(held) => held.alive().map(|alive| alive.process.fd.as_fd()),
            None => self.executions.get(id).ok_or_else(|| Refused::not_found(id))?.process(),
        };
        let Some(process) = process else {
            return Err(in_state(id, ContainerState::Exited));
        };
        if !(1..=LAST_SIGNAL).contains(&signal) {
            return Err(Refused::new(
                ErrorKind::Invalid,
                format!("{signal} is not a signal that can be sent"),
            ));
        }
        match crate::sys::signal::send(process, signal) {
            Ok(()) => Ok(Reply::Done),
            // Gone: it has ended and is about to be reaped, which is as good.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(Reply::Done),
            Err(error) => Err(Refused::new(ErrorKind::Failed, format!("send a signal to {id}: {error}"))),
        }
    }

    pub(super) fn resize(&mut self, id: &str, size: WindowSize) -> Result<Reply, Refused> {
        let (_, streams) = find_streams(&mut self.containers, &mut self.executions, id)?;
        let Some(terminal) = streams.terminal() else {
            return Err(Refused::new(ErrorKind::State, format!("{id} has no terminal")));
        };
        let size =
            rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size)
            .map(|()| Reply::Done)
            .map_err(|error| Refused::new(ErrorKind::Failed, format!("resize the terminal of {id}: {error}")))
    }

    pub(super) fn attach(&mut self, id: &str, socket: Option<OwnedFd>) -> Result<Reply, Refused> {
        let socket = attachable(socket)?;
        let (id, streams) = find_streams(&mut self.containers, &mut self.executions, id)?;
        let attached = if streams.peers.len() >= MAX_PEERS {
            let message = format!("{MAX_PEERS} clients are attached to {id} already");
            Err(Refused::new(ErrorKind::State, message))
        } else {
            streams
                .attach(&id, socket, &mut self.poller)
                .map_err(|error| Refused::new(ErrorKind::Failed, format!("attach to {id}: {error}")))
        };
        attached.map(|()| Reply::Done)
    }

    pub(super) fn delete(
        &mut self,
        token: u64,
        id: &str,
        trace: Option<&str>,
    ) -> Option<Result<Reply, Refused>> {
        let Some(held) = self.containers.get_mut(id) else {
            return Some(Err(Refused::not_found(id)));
        };
        let state = held.state();
        let is_going = held.alive().is_some_and(|alive| alive.gate.is_some() || alive.start_failed);
        match state {
            ContainerState::Exited => Some(self.free(id, trace)),
            _ if is_going => {
                if let Some(alive) = held.alive() {
                    alive.start_failed = true;
                    alive.gate = None;
                }
                held.deleters.push(token);
                let _ = held.cgroup.kill_all();
                if let Some(client) = self.clients.get_mut(&token) {
                    client.waiting = true;
                }
                None
            }
            _ => Some(Err(in_state(id, state))),
        }
    }

    /// Frees the cgroup of a container that has ended, and forgets it.
    pub(super) fn free(&mut self, id: &str, trace: Option<&str>) -> Result<Reply, Refused> {
        let held = self.containers.get(id).ok_or_else(|| Refused::not_found(id))?;
        if let Err(error) = held.cgroup.remove() {
            self.journal.line(&format!("delete {id} failed: {error}"), trace);
            return Err(Refused::new(ErrorKind::Failed, error.to_string()));
        }
        self.containers.remove(id);
        self.forget_executions(id);
        Ok(Reply::Done)
    }

    pub(super) fn shut_down(&mut self, token: u64, kill_containers: bool) -> Option<Result<Reply, Refused>> {
        let living = self.containers.values().filter(|held| held.state() != ContainerState::Exited).count();
        if living > 0 && !kill_containers {
            let message = format!("{living} containers are running");
            return Some(Err(Refused::new(ErrorKind::State, message)));
        }
        self.stopping = Some(token);
        if let Some(client) = self.clients.get_mut(&token) {
            client.waiting = true;
        }
        for held in self.containers.values() {
            // One that resists is killed by its own end, or by the next engine's sweep.
            let _ = held.cgroup.kill_all();
        }
        self.finish_stopping();
        None
    }
}

/// The streams of a living container, or of a further process that runs in one.
fn find_streams<'a>(
    containers: &'a mut BTreeMap<Rc<str>, Held>,
    executions: &'a mut BTreeMap<Rc<str>, Execution>,
    id: &str,
) -> Result<(Rc<str>, &'a mut Streams), Refused> {
    let (id, streams) = match containers.get_mut(id) {
        Some(held) => (held.id.clone(), held.alive().map(|alive| &mut alive.streams)),
        None => {
            let execution = executions.get_mut(id).ok_or_else(|| Refused::not_found(id))?;
            (execution.id.clone(), execution.streams())
        }
    };
    match streams {
        Some(streams) => Ok((id, streams)),
        None => Err(in_state(&id, ContainerState::Exited)),
    }
}

/// A socket to attach: only a stream keeps the order of what it carries.
pub(super) fn attachable(socket: Option<OwnedFd>) -> Result<OwnedFd, Refused> {
    socket
        .filter(|socket| socket_type(socket) == Ok(rustix::net::SocketType::STREAM))
        .ok_or_else(|| Refused::new(ErrorKind::Invalid, "attach needs a stream socket"))
}

/// Why a container was not made.
#[derive(Debug, thiserror::Error)]
enum CreateFailed {
    #[error(transparent)]
    Create(#[from] process::CreateError),
    #[error("{0}: {1}")]
    Records(&'static str, #[source] io::Error),
}

pub(super) fn in_state(id: &str, state: ContainerState) -> Refused {
    let state = match state {
        ContainerState::Created => "created, not started",
        ContainerState::Running => "running",
        ContainerState::Exited => "exited",
    };
    Refused::new(ErrorKind::State, format!("container {id} is {state}"))
}
