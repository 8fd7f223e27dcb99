//! The shared handle on the cluster's state: read it, watch it, propose to it.
//!
//! Every gRPC handler, agent session and the leader loop holds a clone of
//! [`Store`]. The `raft` thread alone holds the [`Publisher`], the writing end.
//! Reading costs a pointer: the state is made of persistent tables.
//!
//! Deliberately absent: any way to change the state but a proposal, and any
//! knowledge of Raft's messages or files.

use std::sync::{Arc, PoisonError, RwLock};

use controller_core::{Command, Event, Refusal, State, apply};
use tokio::sync::{mpsc, oneshot, watch};

use crate::consensus::{EncodeError, encode_command};

/// Proposals that may wait for the `raft` thread; a proposer beyond them waits.
const WAITING_PROPOSALS: usize = 4096;

/// Where this controller stands in its Raft group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RaftStatus {
    /// This controller's Raft id.
    pub id: u64,
    /// Who leads, as far as this controller knows.
    pub leader: Option<u64>,
    /// Index of the last entry applied to the published state.
    pub applied: u64,
    /// The current term.
    pub term: u64,
    /// This controller leads, and has applied everything that earlier leaders committed.
    pub leading: bool,
}

/// Why a proposal has no events to show.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// This controller does not lead; nothing was changed.
    #[error("this controller is not the leader{}", match leader { Some(id) => format!(", controller {id} is"), None => " and knows none just now".to_owned() })]
    NotLeader {
        /// Who does, if known.
        leader: Option<u64>,
    },
    /// Leadership was lost while the command was under way: it may or may not be carried out. Read before trying again.
    #[error(
        "leadership was lost before the change was confirmed; look whether it was made before trying again"
    )]
    Unconfirmed {
        /// Who leads now, if known.
        leader: Option<u64>,
    },
    /// The state refuses the command; nothing was changed. Only from [`Store::propose_checked`].
    #[error(transparent)]
    Refused(Refusal),
    /// The command cannot be put into a log entry; nothing was changed.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The controller is stopping.
    #[error("the controller is stopping")]
    Stopped,
}

/// What the `raft` thread is asked to do.
#[derive(Debug)]
pub(crate) enum Request {
    /// Commit these bytes and answer with the events of applying them.
    Propose { bytes: Vec<u8>, reply: oneshot::Sender<Result<Vec<Event>, ProposeError>> },
    /// End after what is under way.
    Stop,
}

/// The readers' handle; clone it freely.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

/// The writing end, held by the `raft` thread alone.
#[derive(Debug)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: RwLock<State>,
    applied: watch::Sender<u64>,
    status: watch::Sender<RaftStatus>,
}

/// Makes a store that holds `state`, which is the state after `status.applied` entries.
pub(crate) fn open(state: State, status: RaftStatus) -> (Store, Publisher, mpsc::Receiver<Request>) {
    let (requests, receiver) = mpsc::channel(WAITING_PROPOSALS);
    let shared = Arc::new(Shared {
        state: RwLock::new(state),
        applied: watch::Sender::new(status.applied),
        status: watch::Sender::new(status),
    });
    (Store { shared: Arc::clone(&shared), requests }, Publisher { shared }, receiver)
}

impl Store {
    /// The state as of now. A consistent version; costs a pointer.
    pub fn state(&self) -> State {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows the index of the last applied entry; read [`Store::state`] after each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    /// Where this controller stands in its Raft group.
    pub fn status(&self) -> RaftStatus {
        *self.shared.status.borrow()
    }

    /// Follows [`Store::status`]. It does not change for every applied entry of a quiet term: see [`Store::changes`].
    pub fn status_changes(&self) -> watch::Receiver<RaftStatus> {
        self.shared.status.subscribe()
    }

    /// Commits a command and returns what applying it changed. It is on disk of a majority when this returns.
    /// A refusal by the state is an event like others; see [`Store::propose_checked`].
    ///
    /// Dropping the future does not take the command back.
    pub async fn propose(&self, command: Command) -> Result<Vec<Event>, ProposeError> {
        let bytes = encode_command(&command)?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Propose { bytes, reply };
        self.requests.send(request).await.map_err(|_| ProposeError::Stopped)?;
        answer.await.map_err(|_| ProposeError::Stopped)?
    }

    /// As [`Store::propose`], but a refusal is [`ProposeError::Refused`].
    pub async fn propose_checked(&self, command: Command) -> Result<Vec<Event>, ProposeError> {
        let events = self.propose(command).await?;
        match events
            .iter()
            .find_map(|event| if let Event::Refused(why) = event { Some(why.clone()) } else { None })
        {
            Some(refusal) => Err(ProposeError::Refused(refusal)),
            None => Ok(events),
        }
    }

    /// Asks the `raft` thread to end.
    pub(crate) async fn stop(&self) {
        // An error means that it has ended already.
        let _ = self.requests.send(Request::Stop).await;
    }
}

impl Publisher {
    /// Applies one committed command to the published state and returns what changed.
    pub(crate) fn apply(&self, command: &Command) -> Vec<Event> {
        // Apply to a copy (it costs a pointer), so that readers wait for a move and never for the work.
        let mut state = self.state();
        let events = apply(&mut state, command);
        self.restore(state);
        events
    }

    /// The published state.
    pub(crate) fn state(&self) -> State {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the published state.
    pub(crate) fn restore(&self, state: State) {
        let mut published = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *published, state);
        drop(published);
        // What the new state no longer shares is freed while nobody waits.
        drop(old);
    }

    /// Says how far the state has come and where this controller stands. Wakes only those whose value changed.
    pub(crate) fn advance(&self, status: RaftStatus) {
        self.shared.status.send_if_modified(|old| {
            let stands_elsewhere = RaftStatus { applied: status.applied, ..*old } != status;
            *old = status;
            stands_elsewhere
        });
        self.shared.applied.send_if_modified(|old| std::mem::replace(old, status.applied) != status.applied);
    }
}
