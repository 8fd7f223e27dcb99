//! Who a voter is, and the first entry in a new log's history: its founders.

use raft::eraftpb::ConfState;

use super::log_store::{Batch, LogError, LogStore};

/// One voter's identity and timing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftSettings {
    /// This voter. Never zero, never reused by another one.
    pub id: u64,
    /// The voters of a new group; not looked at when the log exists.
    pub founders: Vec<u64>,
    /// An election is started after this many ticks of silence, drawn from `.0..`.1. Give `k` and `k + 1` for a run that
    /// replays exactly.
    pub election_ticks: (usize, usize),
}

impl RaftSettings {
    /// A group of one, with elections after one to two seconds.
    pub fn single(id: u64) -> Self {
        Self { id, founders: vec![id], election_ticks: (10, 20) }
    }
}

/// Writes the founders into a new log; in an old one, checks that it is this voter's.
pub(super) fn founding(settings: &RaftSettings, log: &dyn LogStore) -> Result<(), OpenError> {
    let contents = log.load()?;
    if contents.voters.voters.is_empty() {
        let voters = ConfState::from((settings.founders.clone(), Vec::new()));
        log.append(&Batch { voters: Some(voters), ..Batch::default() })?;
        return Ok(());
    }
    if contents.voters.voters.contains(&settings.id) {
        return Ok(());
    }
    Err(OpenError::Foreign { id: settings.id, found: contents.voters.voters.to_vec() })
}

/// Why a voter cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log is that of another voter or group.
    #[error(
        "the log belongs to the voters {found:?}, this controller is number {id}: is it another one's data directory?"
    )]
    Foreign {
        /// This voter.
        id: u64,
        /// Who the log says are the voters.
        found: Vec<u64>,
    },
    /// raft refuses the settings.
    #[error("raft refuses to start: {0}")]
    Raft(raft::Error),
}
