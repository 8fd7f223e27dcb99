//! Raft without IO: inputs in, outputs out, no clock, no thread, no disk of its own.
//!
//! [`Consensus::step`] wraps raft's `RawNode`. Whoever calls it (the `raft`
//! thread, or a simulator) performs the outputs **in order** and reports back:
//!
//! ```text
//!   Tick, Message, Propose ──►┌───────────┐──► Send, Apply, Restore, Dropped, Standing
//!                             │ Consensus │──► Persist ──┐ (make it durable)
//!                      ┌─────►└───────────┘              │
//!                      └──────────── Persisted ◄─────────┘
//! ```
//!
//! What raft asks of its host, and where it is done here:
//!
//! 1. messages of a leader may leave at once: `Send` before `Persist`;
//! 2. a snapshot is kept, then restored: `Persist`, `Persisted`, `Restore`;
//! 3. entries are applied once they are committed *and* durable here;
//! 4. entries and 5. hard state are kept together: one `Persist` is one batch;
//! 6. messages that depend on them leave only after `Persisted`;
//! 7. `advance`, which may commit and apply more.
//!
//! While a `Persist` is out, other inputs wait inside. That is also what groups
//! commits: everything proposed meanwhile becomes one batch.
//!
//! A commit index alone is never written: it goes with the next entries, so an
//! idle group writes nothing. A restarted voter learns it again from its leader,
//! or by leading.
//!
//! Guards against raft 0.7.0: a peer's next index is kept above its match index
//! (#557); a heartbeat that commits beyond our log is dropped instead of
//! panicking (a peer that lost its disk); the first campaign waits until what is
//! known to be committed is applied, so its scan for membership changes is short
//! (#530); nothing is applied beyond what is durable (#543, #561: checked).
//!
//! Deliberately absent: transport (the outputs `Send` have none yet, as there is
//! one voter), changes of membership, and linearizable reads through ReadIndex.

use std::collections::VecDeque;
use std::sync::Arc;

use raft::eraftpb::{Entry, HardState, Message, MessageType};
use raft::{Config, RawNode, Ready, SnapshotStatus, StateRole};

use super::codec::{decode_message, encode_message, from_raft};
use super::log_bridge;
use super::log_store::{Batch, LogError, LogStore, Snapshot};
use super::settings::{OpenError, RaftSettings, founding};
use super::step::{Persist, Proposal, RaftInput, RaftOutput, Standing};
use super::storage::LogView;

/// A proposal that is in the log.
#[derive(Debug)]
struct Pending {
    index: u64,
    term: u64,
    id: u64,
}

/// What waits for its [`RaftInput::Persisted`].
#[derive(Debug)]
struct Unpersisted {
    number: u64,
    ready: Ready,
    entries: Vec<Entry>,
    snapshot: Option<Arc<Snapshot>>,
}

/// One voter. See the top of this file.
pub struct Consensus {
    raw: RawNode<LogView>,
    unpersisted: Option<Unpersisted>,
    waiting: VecDeque<RaftInput>,
    proposals: VecDeque<Pending>,
    standing: Standing,
    /// The entry with which this voter began to lead.
    leads_from: Option<u64>,
    applied: u64,
    applied_term: u64,
    written: HardState,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consensus({} {:?}, applied {})", self.raw.raft.id, self.standing, self.applied)
    }
}

impl Consensus {
    /// Opens a voter on its log. A new log is founded with `settings.founders`.
    ///
    /// The caller restores the state from the log's snapshot first: entries after it come as `Apply`.
    ///
    /// # Errors
    /// When the log cannot be read, or contradicts itself.
    pub fn open(settings: &RaftSettings, log: Arc<dyn LogStore>) -> Result<Self, OpenError> {
        founding(settings, log.as_ref())?;
        let view = LogView::open(log)?;
        let (applied, applied_term) = view.snapshot();
        let config = Config {
            id: settings.id,
            applied,
            election_tick: settings.election_ticks.0,
            min_election_tick: settings.election_ticks.0,
            max_election_tick: settings.election_ticks.1,
            heartbeat_tick: 2,
            pre_vote: true,
            check_quorum: true,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            max_committed_size_per_ready: 16 << 20,
            ..Config::default()
        };
        let raw = RawNode::new(&config, view, &log_bridge::logger()).map_err(OpenError::Raft)?;
        let written = raw.raft.hard_state();
        Ok(Self {
            raw,
            unpersisted: None,
            waiting: VecDeque::new(),
            proposals: VecDeque::new(),
            standing: Standing::default(),
            leads_from: None,
            applied,
            applied_term,
            written,
        })
    }

    /// Takes one input and says what to do about it.
    ///
    /// # Errors
    /// When the log cannot be read; the voter must not go on.
    pub fn step(&mut self, input: RaftInput) -> Result<Vec<RaftOutput>, LogError> {
        let mut out = Vec::new();
        match input {
            RaftInput::Persisted { number } => self.persisted(number, &mut out)?,
            // Not for raft, and not to be put off: what it reads next may be gone.
            RaftInput::Compacted => self.raw.mut_store().compacted()?,
            input if self.unpersisted.is_some() => self.waiting.push_back(input),
            input => self.take(input, &mut out),
        }
        self.settle(&mut out);
        while self.unpersisted.is_none()
            && let Some(input) = self.waiting.pop_front()
        {
            self.take(input, &mut out);
            self.settle(&mut out);
        }
        Ok(out)
    }

    /// Index of the last entry handed out by `Apply` or `Restore`.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Index and term of the last entry handed out.
    pub fn applied_entry(&self) -> (u64, u64) {
        (self.applied, self.applied_term)
    }

    /// Where this voter stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Members of the group, for the snapshot of the applied state.
    pub fn voters(&self) -> raft::eraftpb::ConfState {
        self.raw.store().voters().clone()
    }

    /// Hands an input to raft, which has nothing under way.
    fn take(&mut self, input: RaftInput, out: &mut Vec<RaftOutput>) {
        match input {
            RaftInput::Start => {
                self.settle(out);
                if self.raw.raft.prs().conf().voters().ids().iter().eq([self.raw.raft.id]) {
                    // An error would mean that it cannot campaign now; it will when its time is up.
                    let _ = self.raw.campaign();
                }
            }
            RaftInput::Tick => {
                self.raw.tick();
            }
            RaftInput::Message(bytes) => self.message(&bytes),
            RaftInput::Propose(proposals) => {
                for proposal in proposals {
                    self.propose(proposal, out);
                }
            }
            RaftInput::SnapshotSent { to, arrived } => {
                let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.raw.report_snapshot(to, status);
            }
            // Never get here: `step` deals with them.
            RaftInput::Compacted | RaftInput::Persisted { .. } => {}
        }
    }

    /// A peer's message. Bad ones are dropped: a peer repeats what matters.
    fn message(&mut self, bytes: &[u8]) {
        let message = match decode_message(bytes) {
            Ok(message) => message,
            Err(error) => return tracing::warn!(%error, "dropped a message"),
        };
        let (from, kind) = (message.from, message.get_msg_type());
        if message.to != self.raw.raft.id || !self.raw.store().voters().voters.contains(&from) {
            return tracing::warn!(
                from,
                to = message.to,
                "dropped a message that is not from a voter to this one"
            );
        }
        if kind == MessageType::MsgHeartbeat && message.commit > self.raw.raft.raft_log.last_index() {
            return tracing::error!(
                from,
                "dropped a heartbeat beyond this log: have entries been lost here?"
            );
        }
        if let Err(error) = self.raw.step(message) {
            tracing::debug!(from, %error, "raft refused a message");
        }
        if kind == MessageType::MsgAppendResponse
            && let Some(progress) = self.raw.raft.mut_prs().get_mut(from)
        {
            progress.next_idx = progress.next_idx.max(progress.matched + 1);
        }
    }

    fn propose(&mut self, proposal: Proposal, out: &mut Vec<RaftOutput>) {
        let id = proposal.id;
        let before = self.raw.raft.raft_log.last_index();
        // raft would forward it to the leader, and this voter would never learn what became of it.
        let taken = self.raw.raft.state == StateRole::Leader
            && !proposal.bytes.is_empty()
            && self.raw.propose(Vec::new(), proposal.bytes).is_ok();
        let index = self.raw.raft.raft_log.last_index();
        if taken && index == before + 1 {
            self.proposals.push_back(Pending { index, term: self.raw.raft.term, id });
        } else {
            out.push(RaftOutput::Dropped { id, leader: self.leader(), unconfirmed: false });
        }
    }

    fn leader(&self) -> Option<u64> {
        Some(self.raw.raft.leader_id).filter(|&id| id != raft::INVALID_ID)
    }

    /// Hands out everything raft has to say, up to the first thing that must be durable.
    fn settle(&mut self, out: &mut Vec<RaftOutput>) {
        self.observe(out);
        while self.unpersisted.is_none() && self.raw.has_ready() {
            let mut ready = self.raw.ready();
            send(&ready.take_messages(), out);
            self.apply(ready.take_committed_entries(), out);
            let entries = ready.take_entries();
            let raft_snapshot = ready.snapshot().clone();
            let snapshot = (!raft_snapshot.is_empty()).then(|| Arc::new(from_raft(raft_snapshot)));
            let state = self.raw.raft.hard_state();
            let changed = state.term != self.written.term || state.vote != self.written.vote;
            if entries.is_empty() && snapshot.is_none() && !changed {
                self.advance(ready, out);
            } else {
                let hard_state = (state != self.written || snapshot.is_some()).then(|| state.clone());
                self.written = state;
                let batch = Batch { entries: entries.clone(), hard_state, voters: None };
                let number = ready.number();
                out.push(RaftOutput::Persist(Persist { number, snapshot: snapshot.clone(), batch }));
                self.unpersisted = Some(Unpersisted { number, ready, entries, snapshot });
            }
            self.observe(out);
        }
    }

    fn persisted(&mut self, number: u64, out: &mut Vec<RaftOutput>) -> Result<(), LogError> {
        let Some(Unpersisted { ready, entries, snapshot, .. }) =
            self.unpersisted.take_if(|unpersisted| unpersisted.number == number)
        else {
            return Ok(());
        };
        if let Some(snapshot) = snapshot {
            self.raw.mut_store().reload()?;
            (self.applied, self.applied_term) = (snapshot.index, snapshot.term);
            out.push(RaftOutput::Restore(snapshot));
        }
        self.raw.mut_store().appended(&entries);
        self.advance(ready, out);
        Ok(())
    }

    /// What `ready` asked for is done.
    fn advance(&mut self, mut ready: Ready, out: &mut Vec<RaftOutput>) {
        send(&ready.take_persisted_messages(), out);
        let mut light = self.raw.advance_append(ready);
        send(&light.take_messages(), out);
        self.apply(light.take_committed_entries(), out);
        self.raw.advance_apply_to(self.applied);
    }

    fn apply(&mut self, entries: Vec<Entry>, out: &mut Vec<RaftOutput>) {
        for entry in entries {
            debug_assert!(entry.index <= self.raw.store().last(), "applied before it is durable");
            debug_assert_eq!(entry.index, self.applied + 1, "applied out of order");
            (self.applied, self.applied_term) = (entry.index, entry.term);
            let ours = |pending: &mut Pending| pending.index == entry.index && pending.term == entry.term;
            let id = self.proposals.pop_front_if(ours).map(|pending| pending.id);
            out.push(RaftOutput::Apply {
                index: entry.index,
                term: entry.term,
                id,
                bytes: entry.data.to_vec(),
            });
        }
    }

    /// Notices gained and lost leadership.
    fn observe(&mut self, out: &mut Vec<RaftOutput>) {
        let raft = &self.raw.raft;
        if raft.state == StateRole::Leader {
            // Its first entry is the last one when it begins to lead: nothing was proposed since.
            self.leads_from.get_or_insert(raft.raft_log.last_index());
        } else {
            self.leads_from = None;
            let leader = self.leader();
            let lost = self.proposals.drain(..);
            out.extend(lost.map(|Pending { id, .. }| RaftOutput::Dropped { id, leader, unconfirmed: true }));
        }
        let leading = self.leads_from.is_some_and(|index| self.applied >= index);
        let standing = Standing { term: self.raw.raft.term, leader: self.leader(), leading };
        if standing != self.standing {
            self.standing = standing;
            out.push(RaftOutput::Standing(standing));
        }
    }
}

fn send(messages: &[Message], out: &mut Vec<RaftOutput>) {
    out.extend(messages.iter().map(|message| RaftOutput::Send {
        to: message.to,
        message: encode_message(message),
        snapshot: message.get_msg_type() == MessageType::MsgSnapshot,
    }));
}
