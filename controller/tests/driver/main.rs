//! The driver alone: no thread, no disk, no clock; the test passes the messages.

mod agreement;
mod world;

use controller::consensus::{Consensus, LogStore, MemoryLog, OpenError, RaftInput, RaftOutput, RaftSettings};
use std::sync::Arc;
use world::{World, change, proposal};

fn kinds(outputs: &[RaftOutput]) -> Vec<&'static str> {
    let kind = |output: &RaftOutput| match output {
        RaftOutput::Send { .. } => "send",
        RaftOutput::Persist(_) => "persist",
        RaftOutput::Restore(_) => "restore",
        RaftOutput::Apply { .. } => "apply",
        RaftOutput::Dropped { .. } => "dropped",
        RaftOutput::Standing(_) => "standing",
    };
    outputs.iter().map(kind).collect()
}

#[test]
fn a_single_voter_leads_without_waiting_and_commits() {
    let mut world = World::new(1);
    assert!(world.voter(1).standing.leading);
    world.propose(1, 7);
    assert_eq!(world.voter(1).applied, [change(7)]);
    assert!(world.voter(1).answered.contains(&7));
}

#[test]
fn nothing_is_applied_or_answered_before_it_is_durable() {
    let log = Arc::new(MemoryLog::new());
    let mut driver = Consensus::open(&RaftSettings::single(1), log.clone()).expect("opens");
    let mut number = 0;
    let mut keep = |outputs: &[RaftOutput]| {
        for output in outputs {
            if let RaftOutput::Persist(persist) = output {
                log.append(&persist.batch).expect("memory");
                number = persist.number;
            }
        }
        RaftInput::Persisted { number }
    };
    let started = driver.step(RaftInput::Start).expect("memory");
    driver.step(keep(&started)).expect("memory");
    let outputs = driver.step(RaftInput::Propose(vec![proposal(1), proposal(2)])).expect("memory");
    assert_eq!(kinds(&outputs), ["persist"]);
    // Meanwhile the next ones wait, as one batch.
    assert!(driver.step(RaftInput::Propose(vec![proposal(3)])).expect("memory").is_empty());
    assert!(driver.step(RaftInput::Persisted { number: u64::MAX }).expect("memory").is_empty());
    let outputs = driver.step(keep(&outputs)).expect("memory");
    assert_eq!(kinds(&outputs), ["apply", "apply", "persist"]);
}

#[test]
fn a_batch_of_proposals_is_one_write() {
    let mut world = World::new(1);
    let before = world.voter(1).persists;
    world.input(1, RaftInput::Propose((1..=500).map(proposal).collect()));
    assert_eq!(world.voter(1).persists, before + 1);
    assert_eq!(world.voter(1).applied.len(), 500);
}

#[test]
fn a_restart_keeps_what_was_acknowledged() {
    let mut world = World::new(1);
    (1..=25).for_each(|number| world.propose(1, number));
    world.snapshot(1);
    (26..=40).for_each(|number| world.propose(1, number));
    world.crash(1);
    world.start(1);
    assert_eq!(world.voter(1).applied, (1..=40).map(change).collect::<Vec<_>>());
    assert!(world.voter(1).standing.leading);
}

#[test]
fn three_voters_elect_a_leader_and_replicate() {
    let mut world = World::new(3);
    assert_eq!(world.leader(), None, "nobody campaigns before its time");
    world.run(20);
    let leader = world.leader().expect("elected");
    (1..=10).for_each(|number| world.propose(leader, number));
    world.run(3);
    let expected: Vec<_> = (1..=10).map(change).collect();
    for (id, voter) in &world.voters {
        assert_eq!(voter.applied, expected, "voter {id}");
        assert_eq!(voter.standing.leader, Some(leader));
    }
    assert_eq!(world.voter(leader).answered.len(), 10);
}

#[test]
fn who_does_not_lead_says_so_and_who_does() {
    let mut world = World::new(3);
    world.run(20);
    let leader = world.leader().expect("elected");
    let other = leader % 3 + 1;
    world.propose(other, 1);
    assert_eq!(world.voter(other).dropped.get(&1), Some(&false));
    world.run(3);
    assert!(world.voter(leader).applied.is_empty());
}

#[test]
fn a_leader_cut_off_steps_down_and_answers_what_it_could_not_commit() {
    let mut world = World::new(3);
    world.run(20);
    let old = world.leader().expect("elected");
    world.isolated.insert(old);
    world.propose(old, 1);
    world.run(60);
    assert_eq!(world.voter(old).dropped.get(&1), Some(&true), "its fate is open");
    let new = world.leader().expect("another one");
    assert_ne!(new, old);
    world.propose(new, 2);
    world.isolated.clear();
    world.run(60);
    for (id, voter) in &world.voters {
        assert_eq!(voter.applied, [change(2)], "voter {id}");
    }
}

#[test]
fn a_voter_cut_off_does_not_disturb_the_group_when_it_returns() {
    let mut world = World::new(3);
    world.run(20);
    let leader = world.leader().expect("elected");
    let term = world.voter(leader).standing.term;
    let away = leader % 3 + 1;
    world.isolated.insert(away);
    world.run(200);
    world.isolated.clear();
    world.run(20);
    assert_eq!((world.leader(), world.voter(leader).standing.term), (Some(leader), term));
}

#[test]
fn a_voter_far_behind_is_brought_up_by_a_snapshot() {
    let mut world = World::new(3);
    world.run(20);
    let leader = world.leader().expect("elected");
    let behind = leader % 3 + 1;
    world.crash(behind);
    (1..=50).for_each(|number| world.propose(leader, number));
    world.run(2);
    world.snapshot(leader);
    (51..=60).for_each(|number| world.propose(leader, number));
    world.run(2);
    world.start(behind);
    world.run(60);
    let expected: Vec<_> = (1..=60).map(change).collect();
    assert_eq!(world.voter(behind).applied, expected);
    assert!(world.voter(behind).log.load().expect("memory").snapshot.0 >= 50);
    world.crash(behind);
    world.start(behind);
    world.run(10);
    assert_eq!(world.voter(behind).applied, expected);
}

#[test]
fn votes_and_acknowledgements_wait_for_the_disk() {
    let mut world = World::new(3);
    world.voter(2).slow_disk = true;
    world.voter(3).slow_disk = true;
    world.run(30);
    assert_eq!(world.leader(), None, "no vote was durable");
    assert!(world.wire.iter().all(|letter| letter.from == 1));
    world.voter(2).slow_disk = false;
    world.persist(2);
    world.run(30);
    let leader = world.leader().expect("two of three");
    world.propose(leader, 1);
    world.run(2);
    assert_eq!(world.voter(leader).applied, [change(1)]);
}

#[test]
fn an_idle_group_writes_nothing() {
    for voters in [1, 3] {
        let mut world = World::new(voters);
        world.run(40);
        let leader = world.leader().expect("elected");
        world.propose(leader, 1);
        world.run(10);
        let before: Vec<_> = world.voters.values().map(|voter| voter.persists).collect();
        world.run(600);
        let after: Vec<_> = world.voters.values().map(|voter| voter.persists).collect();
        assert_eq!(before, after, "{voters} voters, one minute");
    }
}

#[test]
fn strangers_and_nonsense_are_dropped() {
    let mut world = World::new(3);
    world.run(20);
    let term = world.voter(1).standing.term;
    world.input(1, RaftInput::Message(b"nonsense".to_vec()));
    world.input(1, RaftInput::Message(Vec::new()));
    // Well-formed, from a group of four: to voter 1 from voter 4, with a high term.
    let mut other = World::new(4);
    (1..=3).for_each(|id| other.crash(id));
    (0..100).for_each(|_| other.input(4, RaftInput::Tick));
    let letter = other.wire.iter().find(|letter| letter.to == 1).cloned().expect("asks for a vote");
    world.input(1, RaftInput::Message(letter.message));
    world.run(20);
    assert_eq!(world.voter(1).standing.term, term);
}

#[test]
fn the_log_of_another_voter_is_refused() {
    let log = Arc::new(MemoryLog::new());
    Consensus::open(&RaftSettings::single(1), log.clone()).expect("opens");
    assert!(matches!(Consensus::open(&RaftSettings::single(2), log), Err(OpenError::Foreign { id: 2, .. })));
}
