//! The driver's vocabulary: everything that may happen to a voter, and everything it may ask for.
//!
//! Plain data, so that a simulator can keep, reorder and print it. See
//! [`super::driver`] for who does what, and in which order.

use std::sync::Arc;

use super::log_store::{Batch, Snapshot};

/// One change that somebody wants committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The caller's name for it; comes back in [`RaftOutput::Apply`] or [`RaftOutput::Dropped`].
    pub id: u64,
    /// What the entry will hold. Never empty: empty entries are raft's own.
    pub bytes: Vec<u8>,
}

/// What may happen to a voter.
#[derive(Debug, Clone, PartialEq)]
pub enum RaftInput {
    /// The first input, once: applies what is known to be committed; a single voter campaigns at once.
    Start,
    /// A tick of time passed (100 ms).
    Tick,
    /// A peer's message, as it came out of its [`RaftOutput::Send`].
    Message(Vec<u8>),
    /// Changes to commit, in this order.
    Propose(Vec<Proposal>),
    /// The [`RaftOutput::Persist`] of this number is durable.
    Persisted {
        /// Its number.
        number: u64,
    },
    /// What became of a [`RaftOutput::Send`] that was marked as a snapshot. Until it is known, its peer gets nothing else.
    SnapshotSent {
        /// The peer.
        to: u64,
        /// Whether it arrived.
        arrived: bool,
    },
    /// The log store has a new snapshot, or was compacted.
    Compacted,
}

/// What is to be made durable before [`RaftInput::Persisted`] is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Persist {
    /// To be given back.
    pub number: u64,
    /// A leader's snapshot; it replaces the log, and comes before the batch.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Entries and hard state.
    pub batch: Batch,
}

/// Where this voter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// The current term.
    pub term: u64,
    /// Who leads it, if known.
    pub leader: Option<u64>,
    /// This voter leads *and* has applied everything its predecessors committed.
    pub leading: bool,
}

/// What the caller is to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum RaftOutput {
    /// Send this message to a peer. It may be lost, delayed or repeated.
    Send {
        /// The peer's id.
        to: u64,
        /// For its [`RaftInput::Message`].
        message: Vec<u8>,
        /// It holds a whole snapshot: give [`RaftInput::SnapshotSent`] when it has arrived or failed.
        snapshot: bool,
    },
    /// Make this durable, then give [`RaftInput::Persisted`].
    Persist(Persist),
    /// Replace the state by this snapshot's.
    Restore(Arc<Snapshot>),
    /// Apply a committed entry. Indices come without gaps; raft's own entries have no bytes.
    Apply {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// The proposal it was, if it was proposed here.
        id: Option<u64>,
        /// What was proposed.
        bytes: Vec<u8>,
    },
    /// A proposal will not be answered by an `Apply`.
    Dropped {
        /// Which.
        id: u64,
        /// Who leads, if known.
        leader: Option<u64>,
        /// It was in the log when leadership was lost: a later leader may still commit it.
        unconfirmed: bool,
    },
    /// This voter's standing changed.
    Standing(Standing),
}
