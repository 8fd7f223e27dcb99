//! A further process in a container, in the keeper's hands: on its way in, running, or ended and not forgotten.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use super::Exit;
use super::protocol::ExecStatus;
use super::server::poller::{Watch, Watched};
use super::stream::Streams;
use crate::process::Joining;

/// One further process.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) id: Rc<str>,
    pub(crate) container: Rc<str>,
    pub(crate) pid: i32,
    pub(crate) terminal: bool,
    pub(crate) stage: Stage,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It has not run its program yet.
    Joining(Box<Entering>),
    /// It runs.
    Running(Box<Running>),
    /// It was reaped.
    Ended(Exit),
}

/// A process on its way in.
#[derive(Debug)]
pub(crate) struct Entering {
    pub(crate) process: Watched,
    pub(crate) joining: Joining,
    pub(crate) watch: Watch,
    /// To be attached when its streams are there.
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) streams: Option<Streams>,
    /// Who is to be told; gone once that is done.
    pub(crate) asker: Option<u64>,
    pub(crate) gate: Gate,
    /// It failed: its end is nobody's news.
    pub(crate) failed: bool,
}

/// What becomes of a process at its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It goes on at once.
    Open,
    /// It is to wait for the word of whoever asked for it.
    Hold,
    /// It waits for the word of this client, and ends with that one's connection.
    Held(u64),
}

/// A process that runs its program.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Watched,
    pub(crate) streams: Streams,
}

impl Execution {
    /// Its process, until that was reaped.
    pub(crate) fn process(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Joining(entering) => Some(entering.process.fd.as_fd()),
            Stage::Running(running) => Some(running.process.fd.as_fd()),
            Stage::Ended(_) => None,
        }
    }

    /// Whether `pid` is this process, not reaped yet.
    pub(crate) fn is_process(&self, pid: i32) -> bool {
        self.pid == pid && self.process().is_some()
    }

    /// Its streams, while it has any.
    pub(crate) fn streams(&mut self) -> Option<&mut Streams> {
        match &mut self.stage {
            Stage::Joining(entering) => entering.streams.as_mut(),
            Stage::Running(running) => Some(&mut running.streams),
            Stage::Ended(_) => None,
        }
    }

    /// What a client is told of it; nothing while it is on its way in.
    pub(crate) fn status(&self) -> Option<ExecStatus> {
        let exit = match &self.stage {
            Stage::Joining(_) => return None,
            Stage::Running(_) => None,
            Stage::Ended(exit) => Some(exit.clone()),
        };
        let (id, container) = (self.id.to_string(), self.container.to_string());
        Some(ExecStatus { id, container, pid: self.pid, terminal: self.terminal, exit })
    }
}
