//! Agreement under everything at once: messages lost, repeated and reordered,
//! voters cut off and crashed, slow disks, snapshots; from a seed.

use std::collections::BTreeSet;

use controller::consensus::RaftInput;
use proptest::prelude::*;

use crate::world::{World, change};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Tick(u64),
    Everybody(u64),
    Deliver(usize),
    Lose,
    Repeat,
    Reorder,
    Propose(u64),
    Crash(u64),
    Start(u64),
    Isolate(u64),
    Heal,
    SlowDisk(u64),
    Persist(u64),
    Snapshot(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let voter = 1..=3_u64;
    prop_oneof![
        6 => voter.clone().prop_map(Step::Tick),
        6 => (1..25_u64).prop_map(Step::Everybody),
        12 => (1..30_usize).prop_map(Step::Deliver),
        2 => Just(Step::Lose),
        2 => Just(Step::Repeat),
        2 => Just(Step::Reorder),
        12 => voter.clone().prop_map(Step::Propose),
        2 => voter.clone().prop_map(Step::Crash),
        4 => voter.clone().prop_map(Step::Start),
        1 => voter.clone().prop_map(Step::Isolate),
        2 => Just(Step::Heal),
        2 => voter.clone().prop_map(Step::SlowDisk),
        4 => voter.clone().prop_map(Step::Persist),
        2 => voter.prop_map(Step::Snapshot),
    ]
}

fn play(world: &mut World, step: &Step, proposals: &mut u64) {
    match *step {
        Step::Tick(id) => world.input(id, RaftInput::Tick),
        Step::Everybody(ticks) => world.run(ticks),
        Step::Deliver(count) => (0..count).for_each(|_| _ = world.deliver()),
        Step::Lose => world.lose(),
        Step::Repeat => world.wire.extend(world.wire.front().cloned()),
        Step::Reorder => {
            let oldest = world.wire.pop_front();
            world.wire.extend(oldest);
        }
        Step::Propose(id) => {
            *proposals += 1;
            world.propose(id, *proposals);
        }
        Step::Crash(id) => world.crash(id),
        Step::Start(id) if world.voter(id).driver.is_none() => world.start(id),
        Step::Start(_) => {}
        Step::Isolate(id) => _ = world.isolated.insert(id),
        Step::Heal => world.isolated.clear(),
        Step::SlowDisk(id) => world.voter(id).slow_disk = true,
        Step::Persist(id) => {
            world.voter(id).slow_disk = false;
            world.persist(id);
        }
        Step::Snapshot(id) => world.snapshot(id),
    }
}

/// Everybody has applied a beginning of the same list.
fn assert_agreement(world: &World) {
    let longest = world.voters.values().map(|voter| &voter.applied).max_by_key(|applied| applied.len());
    for (id, voter) in &world.voters {
        assert!(longest.is_some_and(|longest| longest.starts_with(&voter.applied)), "voter {id} disagrees");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn voters_agree_and_nothing_acknowledged_is_lost(steps in prop::collection::vec(step(), 1..250)) {
        let mut world = World::new(3);
        let mut proposals = 0;
        for step in &steps {
            play(&mut world, step, &mut proposals);
            assert_agreement(&world);
        }
        // Peace: everybody returns, and then all have applied what anybody was told is done.
        world.isolated.clear();
        for id in 1..=3 {
            world.voter(id).slow_disk = false;
            world.persist(id);
            if world.voter(id).driver.is_none() {
                world.start(id);
            }
        }
        world.run(150);
        assert_agreement(&world);
        let leader = world.leader().expect("peace has a leader");
        let answered: BTreeSet<u64> = world.voters.values().flat_map(|voter| voter.answered.iter().copied()).collect();
        for (id, voter) in &world.voters {
            prop_assert_eq!(voter.applied.len(), world.voters[&leader].applied.len(), "voter {}", id);
            for number in &answered {
                let times = voter.applied.iter().filter(|applied| **applied == change(*number)).count();
                prop_assert_eq!(times, 1, "voter {}, change {}", id, number);
            }
        }
    }
}
