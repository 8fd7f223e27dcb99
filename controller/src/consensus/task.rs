//! The `raft` thread: performs what the driver says, and nothing else.
//!
//! One named OS thread with a little runtime of its own, so that neither a busy
//! API nor a slow disk can disturb the other's time:
//!
//! ```text
//!   Store::propose ──(bounded queue)──► raft thread ──► log (write + fdatasync)
//!   clock, every 100 ms ──────────────►      │
//!   snapshot thread: done ────────────►      └──► apply ──► Store (state, changes), replies
//! ```
//!
//! Each turn takes *everything* that is queued as one proposal batch: one write
//! and one sync, however many callers wait. A reply leaves after the sync and
//! after the state with the change in it was published.
//!
//! A failed write ends the thread, and with it the process; what it had under
//! way is not acknowledged. `Send` has no transport yet: a group of one sends
//! nothing.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use controller_core::{Event, State};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::command::{DecodeError, decode_command};
use super::driver::Consensus;
use super::log_store::{LogError, LogStore, Snapshot};
use super::settings::{OpenError, RaftSettings};
use super::snapshot::{self, SnapshotError, SnapshotPolicy, Snapshots};
use super::step::{Persist, Proposal, RaftInput, RaftOutput};
use crate::store::{self, ProposeError, Publisher, RaftStatus, Request, Store};

/// The unit of raft's timing.
const TICK: Duration = Duration::from_millis(100);
/// Requests taken at once; one batch, one sync.
const BATCH: usize = 1024;

/// Why the `raft` thread did not start, or ended unasked.
#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    /// It could not open its log.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The snapshot is there, but is no state.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A committed entry cannot be understood; skipping it would make this state differ from its peers'.
    #[error("entry {index} of the log cannot be applied: {error}")]
    Entry {
        /// Its index.
        index: u64,
        /// Why.
        error: DecodeError,
    },
    /// The operating system gives no thread.
    #[error("no thread for raft: {0}")]
    Thread(#[from] std::io::Error),
    /// A bug.
    #[error("the raft thread died, which is a bug: {0}")]
    Panic(String),
}

/// The running thread.
#[derive(Debug)]
pub struct RaftThread {
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<Result<(), RaftError>>,
}

impl RaftThread {
    /// Waits for the thread to end by itself, which is always a failure.
    pub async fn failed(&mut self) -> RaftError {
        match (&mut self.ended).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => RaftError::Panic("it ended unasked".to_owned()),
        }
    }

    /// Ends it after what is under way, and closes the log.
    ///
    /// # Errors
    /// When it had failed.
    pub async fn stop(mut self, store: &Store) -> Result<(), RaftError> {
        store.stop().await;
        let outcome = (&mut self.ended).await.unwrap_or(Ok(()));
        // It says so as its last act.
        let _ = self.thread.join();
        outcome
    }
}

/// Rebuilds the state from the log and starts the thread.
///
/// # Errors
/// When the log is damaged or not this voter's; nothing was changed then.
pub fn start(
    settings: &RaftSettings,
    policy: SnapshotPolicy,
    log: Arc<dyn LogStore>,
) -> Result<(Store, RaftThread), RaftError> {
    let state = match log.snapshot().map_err(OpenError::Log)? {
        Some(snapshot) => snapshot::decode(&snapshot)?,
        None => State::default(),
    };
    let driver = Consensus::open(settings, Arc::clone(&log))?;
    let id = settings.id;
    let status = RaftStatus { id, applied: driver.applied(), ..RaftStatus::default() };
    let (store, publisher, requests) = store::open(state, status);
    let snapshots = Snapshots::new(policy);
    let turn = Turn { id, driver, log, publisher, replies: HashMap::new(), next_proposal: 0, snapshots };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (sender, ended) = oneshot::channel();
    let body = move || {
        let run = AssertUnwindSafe(|| runtime.block_on(turn.run(requests)));
        let outcome = catch_unwind(run).unwrap_or_else(|panic| Err(RaftError::Panic(words(panic.as_ref()))));
        let _ = sender.send(outcome);
    };
    let thread = thread::Builder::new().name("raft".to_owned()).spawn(body)?;
    Ok((store, RaftThread { thread, ended }))
}

type Reply = oneshot::Sender<Result<Vec<Event>, ProposeError>>;

/// What the thread owns.
struct Turn {
    id: u64,
    driver: Consensus,
    log: Arc<dyn LogStore>,
    publisher: Publisher,
    replies: HashMap<u64, Reply>,
    next_proposal: u64,
    snapshots: Snapshots,
}

impl Turn {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> Result<(), RaftError> {
        self.feed(RaftInput::Start)?;
        let mut ticks = interval(TICK);
        // After a stall, time goes on; made-up ticks would only start elections.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                taken = requests.recv_many(&mut batch, BATCH) => {
                    let stop = taken == 0 || self.requests(&mut batch)?;
                    if stop {
                        self.snapshots.finish().await;
                        return Ok(());
                    }
                }
                _ = ticks.tick() => self.feed(RaftInput::Tick)?,
                upto = self.snapshots.written() => {
                    self.log.compact(upto)?;
                    self.feed(RaftInput::Compacted)?;
                }
            }
            self.snapshot_if_due();
        }
    }

    /// Makes one batch of everything that was queued. Returns whether the thread is to end.
    fn requests(&mut self, batch: &mut Vec<Request>) -> Result<bool, RaftError> {
        let mut proposals = Vec::with_capacity(batch.len());
        let mut stop = false;
        for request in batch.drain(..) {
            match request {
                Request::Propose { bytes, reply } => {
                    let id = self.next_proposal;
                    self.next_proposal += 1;
                    self.replies.insert(id, reply);
                    proposals.push(Proposal { id, bytes });
                }
                Request::Stop => stop = true,
            }
        }
        self.feed(RaftInput::Propose(proposals))?;
        Ok(stop)
    }

    /// Gives the driver an input and does what it says, until it has nothing more to say.
    fn feed(&mut self, input: RaftInput) -> Result<(), RaftError> {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            for output in self.driver.step(input)? {
                match output {
                    RaftOutput::Persist(persist) => next = Some(self.persist(&persist)?),
                    other => self.perform(other)?,
                }
            }
            let standing = self.driver.standing();
            self.publisher.advance(RaftStatus {
                id: self.id,
                leader: standing.leader,
                applied: self.driver.applied(),
                term: standing.term,
                leading: standing.leading,
            });
        }
        Ok(())
    }

    fn persist(&mut self, persist: &Persist) -> Result<RaftInput, RaftError> {
        if let Some(snapshot) = &persist.snapshot {
            // Before it replaces the log: one that cannot be read must not.
            snapshot::decode(snapshot)?;
            let hard_state = persist.batch.hard_state.clone().unwrap_or_default();
            self.log.install_snapshot(snapshot, &hard_state)?;
        }
        self.log.append(&persist.batch)?;
        Ok(RaftInput::Persisted { number: persist.number })
    }

    fn perform(&mut self, output: RaftOutput) -> Result<(), RaftError> {
        match output {
            RaftOutput::Apply { index, id, bytes, .. } => self.apply(index, id, &bytes)?,
            RaftOutput::Restore(snapshot) => self.publisher.restore(snapshot::decode(&snapshot)?),
            RaftOutput::Dropped { id, leader, unconfirmed } => {
                let error = if unconfirmed {
                    ProposeError::Unconfirmed { leader }
                } else {
                    ProposeError::NotLeader { leader }
                };
                self.answer(id, Err(error));
            }
            RaftOutput::Standing(standing) => {
                tracing::debug!(
                    term = standing.term,
                    leader = standing.leader,
                    leading = standing.leading,
                    "raft"
                );
            }
            RaftOutput::Send { to, .. } => tracing::trace!(to, "no transport to this peer"),
            // Done by the caller, which knows what to feed next.
            RaftOutput::Persist(_) => {}
        }
        Ok(())
    }

    fn apply(&mut self, index: u64, id: Option<u64>, bytes: &[u8]) -> Result<(), RaftError> {
        self.snapshots.count(bytes.len());
        if bytes.is_empty() {
            return Ok(());
        }
        let command = decode_command(bytes).map_err(|error| RaftError::Entry { index, error })?;
        let events = self.publisher.apply(&command);
        if let Some(id) = id {
            self.answer(id, Ok(events));
        }
        Ok(())
    }

    fn answer(&mut self, id: u64, answer: Result<Vec<Event>, ProposeError>) {
        if let Some(reply) = self.replies.remove(&id) {
            // Who asked may have gone away; the change stays.
            let _ = reply.send(answer);
        }
    }

    fn snapshot_if_due(&mut self) {
        if !self.snapshots.due() {
            return;
        }
        let (index, term) = self.driver.applied_entry();
        let empty = Snapshot { index, term, voters: self.driver.voters(), data: Vec::new() };
        self.snapshots.begin(&self.log, self.publisher.state(), empty);
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
