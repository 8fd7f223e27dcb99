//! The `raft` thread on real and counted logs: what was acknowledged stays, what
//! fails is said, and nothing is written that need not be.

mod counted;
mod kill;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use controller::consensus::{
    self, EngineLog, LogStore, MemoryLog, RaftError, RaftSettings, RaftThread, SnapshotPolicy,
};
use controller::store::{ProposeError, Store};
use controller_core::{Command, Event, Ids, Role, State, Timestamp};
use counted::Counted;
use futures::future::join_all;

type Outcome = Result<(), Box<dyn Error>>;

/// Starts the thread on a log and waits until it leads.
async fn open(log: Arc<dyn LogStore>, policy: SnapshotPolicy) -> Result<(Store, RaftThread), Box<dyn Error>> {
    let (store, thread) = consensus::start(&RaftSettings::single(1), policy, log)?;
    store.status_changes().wait_for(|status| status.leading).await?;
    Ok((store, thread))
}

/// Makes the cluster that other commands need.
fn bootstrap() -> Command {
    Command::Bootstrap { cluster_id: Ids::new(1).cluster(), root_der: vec![1, 2, 3], at: Timestamp(1) }
}

/// A change that can be found again.
fn token(number: u64) -> Command {
    let expires = Timestamp(u64::MAX);
    Command::CreateToken { hash: hash(number), role: Role::Agent, expires, at: Timestamp(1) }
}

fn hash(number: u64) -> String {
    format!("{number:064x}")
}

fn has_token(state: &State, number: u64) -> bool {
    state.token(&hash(number)).is_some()
}

/// Often enough to happen in a short test.
const OFTEN: SnapshotPolicy = SnapshotPolicy { entries: 50, bytes: u64::MAX, keep: 10 };

#[tokio::test]
async fn a_proposal_returns_its_events_and_a_refusal() -> Outcome {
    let (store, thread) = open(Arc::new(MemoryLog::new()), SnapshotPolicy::default()).await?;
    let events = store.propose_checked(bootstrap()).await?;
    assert!(matches!(events[..], [Event::ClusterMade(_)]), "{events:?}");
    let refused = store.propose_checked(bootstrap()).await;
    assert!(matches!(refused, Err(ProposeError::Refused(_))), "{refused:?}");
    assert!(matches!(store.propose(bootstrap()).await?[..], [Event::Refused(_)]));
    thread.stop(&store).await?;
    assert!(matches!(store.propose(bootstrap()).await, Err(ProposeError::Stopped)));
    Ok(())
}

#[tokio::test]
async fn a_restart_rebuilds_the_state_from_snapshot_and_log() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let directory = scratch.path().join("raft");
    let mut versions = Vec::new();
    for round in 0..4_u64 {
        let log = Arc::new(EngineLog::open(&directory)?);
        let (store, thread) = open(log.clone(), OFTEN).await?;
        if round == 0 {
            store.propose_checked(bootstrap()).await?;
        } else {
            let state = store.state();
            assert_eq!(versions.pop(), Some(serde_json::to_string(&state)?), "round {round}");
            assert!((0..round * 60).all(|number| has_token(&state, number)), "round {round}");
        }
        for number in round * 60..round * 60 + 60 {
            store.propose_checked(token(number)).await?;
        }
        versions.push(serde_json::to_string(&store.state())?);
        // The snapshot is written beside the proposals.
        let snapshot_due = async {
            while log.load().is_ok_and(|contents| contents.snapshot.0 == 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), snapshot_due).await?;
        thread.stop(&store).await?;
        drop(store);
    }
    let contents = EngineLog::open(&directory)?.load()?;
    assert!(contents.snapshot.0 >= 100 && contents.first > 50, "{contents:?}");
    Ok(())
}

#[tokio::test]
async fn concurrent_proposals_share_syncs_and_an_idle_store_writes_nothing() -> Outcome {
    let log = Arc::new(Counted::slow(Duration::from_millis(3)));
    let (store, thread) = open(log.clone(), SnapshotPolicy::default()).await?;
    store.propose_checked(bootstrap()).await?;
    let before = log.appends();
    let outcomes = join_all((0..400).map(|number| store.propose_checked(token(number)))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let appends = log.appends() - before;
    assert!(appends <= 8, "400 changes took {appends} writes");
    let before = log.appends();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(log.appends(), before, "an idle store wrote");
    thread.stop(&store).await?;
    Ok(())
}

#[tokio::test]
async fn a_log_that_fails_ends_the_thread_and_acknowledges_nothing() -> Outcome {
    let log = Arc::new(Counted::slow(Duration::ZERO));
    let (store, mut thread) = open(log.clone(), SnapshotPolicy::default()).await?;
    store.propose_checked(bootstrap()).await?;
    log.fail();
    let outcome = store.propose(token(1)).await;
    assert!(matches!(outcome, Err(ProposeError::Stopped)), "{outcome:?}");
    assert!(!has_token(&store.state(), 1));
    let failure = thread.failed().await;
    assert!(matches!(failure, RaftError::Log(_)), "{failure}");
    assert!(failure.to_string().contains("could not be made durable"), "{failure}");
    Ok(())
}

#[tokio::test]
async fn readers_see_a_change_before_its_proposer_is_answered() -> Outcome {
    let (store, thread) = open(Arc::new(MemoryLog::new()), SnapshotPolicy::default()).await?;
    store.propose_checked(bootstrap()).await?;
    let mut changes = store.changes();
    changes.mark_unchanged();
    for number in 0..50 {
        store.propose_checked(token(number)).await?;
        assert!(has_token(&store.state(), number));
    }
    tokio::time::timeout(Duration::from_secs(5), changes.changed()).await??;
    thread.stop(&store).await?;
    Ok(())
}
