//! What every [`LogStore`] must do. A new implementation is done when this passes.
//!
//! A case gets a function that opens the store; calling it again, after dropping
//! what it returned, is a restart.

use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, HardState};

use super::{Batch, LogError, LogStore, Snapshot};

type Opener = Box<dyn Fn() -> Arc<dyn LogStore>>;
type Outcome = Result<(), LogError>;
type Case = fn(&Opener) -> Outcome;

/// Runs all cases, each on a store of its own made by `fresh`.
pub(crate) fn run(fresh: impl Fn() -> Opener) {
    let cases: [(&str, Case); 9] = [
        ("a new store is empty", a_new_store_is_empty),
        ("an appended batch survives a restart", an_appended_batch_survives_a_restart),
        ("a batch may hold any part", a_batch_may_hold_any_part),
        ("overwriting cuts the old tail", overwriting_cuts_the_old_tail),
        ("reads keep to their limit and return at least one", reads_keep_to_their_limit),
        ("a snapshot leaves the log alone", a_snapshot_leaves_the_log_alone),
        ("compaction keeps what no snapshot covers", compaction_keeps_what_no_snapshot_covers),
        ("everything may be compacted", everything_may_be_compacted),
        ("an installed snapshot replaces the log", an_installed_snapshot_replaces_the_log),
    ];
    for (name, case) in cases {
        let outcome = case(&fresh());
        assert!(outcome.is_ok(), "{name}: {outcome:?}");
    }
}

/// An entry with some bytes in it.
pub(crate) fn entry(index: u64, term: u64) -> Entry {
    let data = format!("entry {index} of term {term}").into_bytes().into();
    Entry { index, term, data, ..Entry::default() }
}

/// A batch of the entries `from..=to`.
pub(crate) fn entries(from: u64, to: u64, term: u64) -> Batch {
    Batch { entries: (from..=to).map(|index| entry(index, term)).collect(), ..Batch::default() }
}

/// The batch that founds a group.
pub(crate) fn founders() -> Batch {
    Batch { voters: Some(ConfState::from((vec![1, 2, 3], vec![]))), ..Batch::default() }
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    let mut state = HardState::default();
    (state.term, state.vote, state.commit) = (term, vote, commit);
    state
}

fn snapshot(index: u64, term: u64) -> Snapshot {
    let voters = ConfState::from((vec![1, 2, 3], vec![]));
    Snapshot { index, term, voters, data: format!("state\nafter {index}").into_bytes() }
}

fn before_and_after_a_restart(
    log: Arc<dyn LogStore>,
    open: &Opener,
    check: impl Fn(&dyn LogStore) -> Outcome,
) -> Outcome {
    check(log.as_ref())?;
    drop(log);
    check(open().as_ref())
}

fn terms(log: &dyn LogStore) -> Result<Vec<(u64, u64)>, LogError> {
    let contents = log.load()?;
    let found = log.entries(contents.first, contents.last + 1, u64::MAX)?;
    Ok(found.iter().map(|entry| (entry.index, entry.term)).collect())
}

fn a_new_store_is_empty(open: &Opener) -> Outcome {
    for _ in 0..2 {
        let log = open();
        let contents = log.load()?;
        assert_eq!((contents.first, contents.last, contents.snapshot), (1, 0, (0, 0)));
        assert!(contents.voters.voters.is_empty());
        assert_eq!(log.snapshot()?, None);
        log.append(&Batch::default())?;
    }
    Ok(())
}

fn an_appended_batch_survives_a_restart(open: &Opener) -> Outcome {
    let log = open();
    log.append(&founders())?;
    let state = hard_state(4, 2, 1);
    log.append(&Batch { hard_state: Some(state.clone()), ..entries(1, 300, 4) })?;
    before_and_after_a_restart(log, open, |log| {
        let contents = log.load()?;
        assert_eq!((contents.first, contents.last, &contents.hard_state), (1, 300, &state));
        assert_eq!(contents.voters.voters, [1, 2, 3]);
        assert_eq!(log.entries(1, 301, u64::MAX)?, entries(1, 300, 4).entries);
        assert_eq!(log.entries(7, 9, u64::MAX)?, entries(7, 8, 4).entries);
        Ok(())
    })
}

fn a_batch_may_hold_any_part(open: &Opener) -> Outcome {
    let log = open();
    log.append(&founders())?;
    log.append(&entries(1, 1, 1))?;
    log.append(&Batch { hard_state: Some(hard_state(9, 0, 0)), ..Batch::default() })?;
    drop(log);
    let contents = open().load()?;
    assert_eq!((contents.last, contents.hard_state.term, contents.voters.voters.len()), (1, 9, 3));
    Ok(())
}

fn overwriting_cuts_the_old_tail(open: &Opener) -> Outcome {
    let log = open();
    log.append(&founders())?;
    log.append(&entries(1, 5, 1))?;
    log.append(&entries(3, 4, 2))?;
    let expected = [(1, 1), (2, 1), (3, 2), (4, 2)];
    assert_eq!(terms(log.as_ref())?, expected);
    drop(log);
    assert_eq!(terms(open().as_ref())?, expected);
    Ok(())
}

fn reads_keep_to_their_limit(open: &Opener) -> Outcome {
    let log = open();
    log.append(&founders())?;
    log.append(&entries(1, 9, 1))?;
    assert_eq!(log.entries(2, 9, 0)?.len(), 1);
    assert_eq!(log.entries(2, 9, 60)?.len(), 2);
    assert_eq!(log.entries(2, 9, u64::MAX)?.len(), 7);
    Ok(())
}

fn a_snapshot_leaves_the_log_alone(open: &Opener) -> Outcome {
    let log = open();
    log.append(&founders())?;
    log.append(&entries(1, 9, 1))?;
    log.save_snapshot(&snapshot(6, 1))?;
    log.save_snapshot(&snapshot(4, 1))?;
    drop(log);
    let log = open();
    let contents = log.load()?;
    assert_eq!((contents.first, contents.last, contents.snapshot), (1, 9, (6, 1)));
    assert_eq!(log.snapshot()?, Some(snapshot(6, 1)));
    Ok(())
}

fn compaction_keeps_what_no_snapshot_covers(open: &Opener) -> Outcome {
    let log = open();
    log.append(&founders())?;
    log.append(&Batch { hard_state: Some(hard_state(1, 1, 9)), ..entries(1, 9, 1) })?;
    log.compact(5)?;
    assert_eq!(log.load()?.first, 1, "nothing is covered yet");
    log.save_snapshot(&snapshot(6, 1))?;
    log.compact(3)?;
    assert_eq!(log.load()?.first, 4);
    log.compact(9)?;
    log.append(&entries(10, 10, 1))?;
    before_and_after_a_restart(log, open, |log| {
        let contents = log.load()?;
        assert_eq!((contents.first, contents.last, contents.hard_state.commit), (7, 10, 9));
        assert_eq!(contents.voters.voters.len(), 3);
        assert_eq!(log.entries(7, 11, u64::MAX)?.len(), 4);
        Ok(())
    })
}

fn everything_may_be_compacted(open: &Opener) -> Outcome {
    let log = open();
    log.append(&founders())?;
    log.append(&entries(1, 9, 1))?;
    log.save_snapshot(&snapshot(9, 1))?;
    log.compact(9)?;
    drop(log);
    let log = open();
    let contents = log.load()?;
    assert_eq!((contents.first, contents.last, contents.snapshot), (10, 9, (9, 1)));
    log.append(&entries(10, 12, 2))?;
    assert_eq!(terms(log.as_ref())?, [(10, 2), (11, 2), (12, 2)]);
    Ok(())
}

fn an_installed_snapshot_replaces_the_log(open: &Opener) -> Outcome {
    let log = open();
    log.append(&founders())?;
    log.append(&Batch { hard_state: Some(hard_state(1, 1, 2)), ..entries(1, 9, 1) })?;
    log.install_snapshot(&snapshot(50, 7), &hard_state(8, 0, 50))?;
    drop(log);
    let log = open();
    let contents = log.load()?;
    assert_eq!((contents.first, contents.last, contents.snapshot), (51, 50, (50, 7)));
    assert_eq!((contents.hard_state.term, contents.hard_state.commit), (8, 50));
    log.append(&entries(51, 52, 8))?;
    drop(log);
    assert_eq!(terms(open().as_ref())?, [(51, 8), (52, 8)]);
    Ok(())
}
