//! The leader loop: feeds `Control::step` and performs what it decides.
//!
//! One task on every controller; it acts only while this one leads. What feeds it:
//!
//! ```text
//!   agent sessions ──(bounded)──► heartbeats, reports, connects ──┐
//!   store: what was applied ──────────────────────────────────────┼──► Control::step ──► proposals
//!   clock, every 100 ms ──────────────────────────────────────────┤
//!   store: leadership gained or lost ─────────────────────────────┘
//! ```
//!
//! Reports are held back for up to 50 ms and merged per node, so a thousand
//! tasks that start together are a handful of entries. Proposals are not waited
//! for: one that gets lost is decided again, and a plan proposed twice is carried
//! out once. Their number at a time is bounded; at the bound the loop stops
//! reading, and so do in turn its inputs.
//!
//! Deliberately absent: decisions (the core's), and notices to agents' sessions,
//! which follow the store's changes themselves.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use controller_core::command::TaskStatus;
use controller_core::{Command, Control, Ids, Input, NodeId, Timestamp};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::store::{ProposeError, Store};

/// How often time passes for the core.
const TICK: Duration = Duration::from_millis(100);
/// How long a report may wait for others.
const COALESCE: Duration = Duration::from_millis(50);
/// Inputs that may wait; a sender beyond them waits.
const WAITING_INPUTS: usize = 1024;
/// Inputs taken at once.
const BATCH: usize = 256;
/// Proposals under way at once.
const PROPOSALS: usize = 64;

/// Where agents' sessions send what they hear.
#[derive(Debug, Clone)]
pub struct LeaderHandle {
    inputs: mpsc::Sender<Input>,
}

impl LeaderHandle {
    /// Hands an input to the loop; waits while it is busy. While this controller does not lead, inputs are dropped, and
    /// so they are after it has stopped.
    pub async fn send(&self, input: Input) {
        // An error means that the controller is stopping.
        let _ = self.inputs.send(input).await;
    }
}

/// Makes the loop; the caller spawns the future. It ends when the store's `raft` thread has, or is dropped.
///
/// `seed` is where the ids of new tasks come from: random, and of no other source of ids.
pub fn run(store: Store, seed: u64) -> (LeaderHandle, impl Future<Output = ()> + Send) {
    let (inputs, receiver) = mpsc::channel(WAITING_INPUTS);
    let leader = Loop {
        store,
        control: Control::new(),
        ids: Ids::new(seed),
        now: Timestamp(0),
        reports: BTreeMap::new(),
        flush_at: None,
        proposals: FuturesUnordered::new(),
    };
    (LeaderHandle { inputs }, leader.run(receiver))
}

struct Loop {
    store: Store,
    control: Control,
    ids: Ids,
    now: Timestamp,
    /// Reports that wait to be merged with later ones.
    reports: BTreeMap<NodeId, Vec<TaskStatus>>,
    flush_at: Option<Instant>,
    proposals: FuturesUnordered<BoxFuture<'static, Result<(), ProposeError>>>,
}

impl Loop {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut status = self.store.status_changes();
        status.mark_changed();
        let mut changes = self.store.changes();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let room = self.proposals.len() < PROPOSALS;
            let flush_at = self.flush_at;
            tokio::select! {
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let leading = status.borrow_and_update().leading;
                    self.lead(leading);
                }
                Some(outcome) = self.proposals.next() => self.proposed(outcome),
                _ = ticks.tick(), if room => self.step(Input::Tick),
                changed = changes.changed(), if room => {
                    if changed.is_err() {
                        return;
                    }
                    self.step(Input::Changed);
                }
                () = sleep_until(flush_at.unwrap_or_else(Instant::now)), if room && flush_at.is_some() => self.flush(),
                taken = inputs.recv_many(&mut batch, BATCH), if room => {
                    if taken == 0 {
                        return;
                    }
                    batch.drain(..).for_each(|input| self.take(input));
                }
            }
        }
    }

    /// Follows the store: a leader begins with nothing but the state.
    fn lead(&mut self, leading: bool) {
        if leading == self.control.is_leading() {
            return;
        }
        tracing::info!(
            "{}",
            if leading { "this controller leads" } else { "this controller does not lead any more" }
        );
        self.reports.clear();
        self.flush_at = None;
        self.step(if leading { Input::BecameLeader } else { Input::LostLeadership });
    }

    fn take(&mut self, input: Input) {
        match input {
            _ if !self.control.is_leading() => {}
            Input::Report { node, statuses } => {
                merge(self.reports.entry(node).or_default(), statuses);
                self.flush_at.get_or_insert_with(|| Instant::now() + COALESCE);
            }
            other => self.step(other),
        }
    }

    fn flush(&mut self) {
        self.flush_at = None;
        for (node, statuses) in std::mem::take(&mut self.reports) {
            self.step(Input::Report { node, statuses });
        }
    }

    fn step(&mut self, input: Input) {
        self.now = self.now.max(clock());
        let state = self.store.state();
        for command in self.control.step(&state, input, self.now, &mut self.ids) {
            self.propose(command);
        }
    }

    fn propose(&self, command: Command) {
        let store = self.store.clone();
        self.proposals.push(Box::pin(async move { store.propose_checked(command).await.map(drop) }));
    }

    fn proposed(&self, outcome: Result<(), ProposeError>) {
        match outcome {
            Ok(()) => {}
            // Decided again from the state as it is by now.
            Err(ProposeError::Refused(refusal)) => tracing::debug!(%refusal, "a decision came too late"),
            Err(error) => tracing::debug!(%error, "a decision was not committed"),
        }
    }
}

/// Later statuses of a task replace earlier ones.
fn merge(waiting: &mut Vec<TaskStatus>, newer: Vec<TaskStatus>) {
    for status in newer {
        match waiting.iter_mut().find(|old| old.task == status.task) {
            Some(old) => *old = status,
            None => waiting.push(status),
        }
    }
}

/// Milliseconds since the epoch; the one clock the state machine's times come from.
pub fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
