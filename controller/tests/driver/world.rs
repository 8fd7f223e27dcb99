//! A few voters, a network and disks, all in memory and all played by the test.
//!
//! A disk may be slow: what is to be persisted waits until the test says so. A
//! crash drops the driver and what its disk had not persisted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use controller::consensus::{
    Consensus, LogStore, MemoryLog, Persist, Proposal, RaftInput, RaftOutput, RaftSettings, Snapshot,
    Standing,
};

/// One voter.
#[derive(Default)]
pub(crate) struct Voter {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) driver: Option<Consensus>,
    pub(crate) standing: Standing,
    /// What it has applied, without raft's own entries; a snapshot holds the same list.
    pub(crate) applied: Vec<Vec<u8>>,
    /// Proposals it answered.
    pub(crate) answered: BTreeSet<u64>,
    /// Proposals it dropped, and whether their fate is open.
    pub(crate) dropped: BTreeMap<u64, bool>,
    pub(crate) slow_disk: bool,
    /// Batches its disk persisted.
    pub(crate) persists: u64,
    persisting: VecDeque<Persist>,
}

/// A message under way.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) message: Vec<u8>,
    snapshot: bool,
}

/// All of them.
pub(crate) struct World {
    pub(crate) voters: BTreeMap<u64, Voter>,
    pub(crate) wire: VecDeque<Letter>,
    /// Voters cut off from all others.
    pub(crate) isolated: BTreeSet<u64>,
}

impl World {
    /// Makes and starts the voters 1 to `count`.
    pub(crate) fn new(count: u64) -> Self {
        let voters = (1..=count).map(|id| (id, Voter::default())).collect();
        let mut world = Self { voters, wire: VecDeque::new(), isolated: BTreeSet::new() };
        (1..=count).for_each(|id| world.start(id));
        world
    }

    pub(crate) fn voter(&mut self, id: u64) -> &mut Voter {
        self.voters.get_mut(&id).expect("a voter")
    }

    /// Starts a voter from its disk.
    pub(crate) fn start(&mut self, id: u64) {
        let founders = self.voters.keys().copied().collect();
        // Fixed and different, so that a run repeats exactly.
        let ticks = 10 + 3 * usize::try_from(id).expect("small");
        let settings = RaftSettings { id, founders, election_ticks: (ticks, ticks + 1) };
        let voter = self.voter(id);
        voter.applied =
            voter.log.snapshot().expect("memory").map(|kept| decode(&kept.data)).unwrap_or_default();
        voter.driver = Some(Consensus::open(&settings, voter.log.clone()).expect("opens"));
        self.input(id, RaftInput::Start);
    }

    /// The power goes: what was not persisted is lost.
    pub(crate) fn crash(&mut self, id: u64) {
        let voter = self.voter(id);
        voter.driver = None;
        voter.standing = Standing::default();
        voter.persisting.clear();
    }

    /// Gives a running voter an input and performs the outputs.
    pub(crate) fn input(&mut self, id: u64, input: RaftInput) {
        let Some(driver) = &mut self.voter(id).driver else { return };
        for output in driver.step(input).expect("memory") {
            self.perform(id, output);
        }
        if !self.voter(id).slow_disk {
            self.persist(id);
        }
    }

    /// The disk of a voter finishes what it has to do.
    pub(crate) fn persist(&mut self, id: u64) {
        while let Some(persist) = self.voter(id).persisting.pop_front() {
            let voter = self.voter(id);
            voter.persists += 1;
            if let Some(snapshot) = &persist.snapshot {
                let hard_state = persist.batch.hard_state.clone().unwrap_or_default();
                voter.log.install_snapshot(snapshot, &hard_state).expect("memory");
            }
            voter.log.append(&persist.batch).expect("memory");
            self.input(id, RaftInput::Persisted { number: persist.number });
        }
    }

    fn perform(&mut self, id: u64, output: RaftOutput) {
        let voter = self.voter(id);
        match output {
            RaftOutput::Send { to, message, snapshot } => {
                self.wire.push_back(Letter { from: id, to, message, snapshot });
            }
            RaftOutput::Persist(persist) => voter.persisting.push_back(persist),
            RaftOutput::Restore(snapshot) => voter.applied = decode(&snapshot.data),
            RaftOutput::Apply { id: proposal, bytes, .. } => {
                voter.applied.extend((!bytes.is_empty()).then_some(bytes));
                voter.answered.extend(proposal);
            }
            RaftOutput::Dropped { id, unconfirmed, .. } => {
                voter.dropped.insert(id, unconfirmed);
            }
            RaftOutput::Standing(standing) => voter.standing = standing,
        }
    }

    /// Delivers the oldest message, unless one of its ends is cut off or down.
    pub(crate) fn deliver(&mut self) -> bool {
        let Some(letter) = self.wire.pop_front() else { return false };
        let cut = self.isolated.contains(&letter.from) || self.isolated.contains(&letter.to);
        self.end(letter, cut);
        true
    }

    /// Loses the oldest message.
    pub(crate) fn lose(&mut self) {
        if let Some(letter) = self.wire.pop_front() {
            self.end(letter, true);
        }
    }

    fn end(&mut self, letter: Letter, lost: bool) {
        let Letter { from, to, message, snapshot } = letter;
        let arrived = !lost && self.voter(to).driver.is_some();
        if arrived {
            self.input(to, RaftInput::Message(message));
        }
        if snapshot {
            self.input(from, RaftInput::SnapshotSent { to, arrived });
        }
    }

    /// Time passes for everybody, and all messages arrive in between.
    pub(crate) fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            for id in 1..=self.voters.len() as u64 {
                self.input(id, RaftInput::Tick);
            }
            while self.deliver() {}
        }
    }

    /// The one voter that leads the newest term.
    pub(crate) fn leader(&self) -> Option<u64> {
        let leading =
            self.voters.iter().filter(|(_, voter)| voter.driver.is_some() && voter.standing.leading);
        leading.max_by_key(|(_, voter)| voter.standing.term).map(|(&id, _)| id)
    }

    /// Proposes `number` as a change of its own to a voter.
    pub(crate) fn propose(&mut self, id: u64, number: u64) {
        self.input(id, RaftInput::Propose(vec![proposal(number)]));
    }

    /// A voter writes a snapshot of what it has applied and forgets the log before it.
    pub(crate) fn snapshot(&mut self, id: u64) {
        let voter = self.voter(id);
        let Some(driver) = &voter.driver else { return };
        let (index, term) = driver.applied_entry();
        let snapshot = Snapshot { index, term, voters: driver.voters(), data: encode(&voter.applied) };
        voter.log.save_snapshot(&snapshot).expect("memory");
        voter.log.compact(index).expect("memory");
        self.input(id, RaftInput::Compacted);
    }
}

/// The change with this number.
pub(crate) fn proposal(number: u64) -> Proposal {
    Proposal { id: number, bytes: change(number) }
}

/// Its bytes.
pub(crate) fn change(number: u64) -> Vec<u8> {
    format!("change {number}").into_bytes()
}

fn encode(applied: &[Vec<u8>]) -> Vec<u8> {
    applied.join(&b'\n')
}

fn decode(data: &[u8]) -> Vec<Vec<u8>> {
    if data.is_empty() { Vec::new() } else { data.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect() }
}
