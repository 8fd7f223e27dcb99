//! One container in the keeper's hands: its process, its gate until it is
//! started, its cgroup until it is deleted, its streams until it has ended.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::Exit;
use super::protocol::{ContainerState, ContainerStatus};
use super::server::poller::Watched;
use super::stream::Streams;
use crate::cgroup::Cgroup;
use crate::plan::Namespaces;
use crate::process::Gate;

/// One container.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: Rc<str>,
    pub(crate) pid: i32,
    pub(crate) cgroup: Cgroup,
    /// What a further process joins.
    pub(crate) namespaces: Namespaces,
    pub(crate) phase: Phase,
    pub(crate) traceparent: Option<String>,
    /// Clients that asked for its deletion and are answered when it has ended.
    pub(crate) deleters: Vec<u64>,
}

/// Where it is in its life, with what it holds there.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its first process exists.
    Alive(Box<Alive>),
    /// Its first process was reaped.
    Ended(Exit),
}

/// What belongs to a living container.
#[derive(Debug)]
pub(crate) struct Alive {
    pub(crate) process: Watched,
    /// Until it is started.
    pub(crate) gate: Option<Gate>,
    /// It could not be started: its end is nobody's news.
    pub(crate) start_failed: bool,
    pub(crate) streams: Streams,
    pub(crate) state_dir: OwnedFd,
    /// Its exit record need not be on disk before it is announced.
    pub(crate) throw_away: bool,
}

impl Held {
    pub(crate) fn state(&self) -> ContainerState {
        match &self.phase {
            Phase::Ended(_) => ContainerState::Exited,
            // One whose gate was closed for good never ran, though its process may take a moment to end.
            Phase::Alive(alive) if alive.gate.is_some() || alive.start_failed => ContainerState::Created,
            Phase::Alive(_) => ContainerState::Running,
        }
    }

    pub(crate) fn status(&self) -> ContainerStatus {
        let exit = match &self.phase {
            Phase::Ended(exit) => Some(exit.clone()),
            Phase::Alive(_) => None,
        };
        ContainerStatus { id: self.id.to_string(), pid: self.pid, state: self.state(), exit }
    }

    pub(crate) fn alive(&mut self) -> Option<&mut Alive> {
        match &mut self.phase {
            Phase::Alive(alive) => Some(alive),
            Phase::Ended(_) => None,
        }
    }
}
