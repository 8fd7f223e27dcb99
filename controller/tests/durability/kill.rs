//! `kill -9` while changes are acknowledged.
//!
//! The test starts itself again as a child that writes, told apart by a variable.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use controller::consensus::EngineLog;
use futures::future::join_all;

use super::{OFTEN, Outcome, bootstrap, has_token, open, token};

/// Set for the child: the log's directory and the first number to write.
const CHILD: &str = "ROADSTEAD_TEST_WRITER";
const ROUNDS: u64 = 6;
/// Acknowledged changes after which the child is killed; its writers go on meanwhile.
const ACKNOWLEDGED: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_change_survives_kill_9() -> Outcome {
    if let Ok(order) = std::env::var(CHILD) {
        return write_until_killed(&order).await;
    }
    let scratch = tempfile::tempdir()?;
    let directory = scratch.path().join("raft");
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let seen = killed_writer(&directory, round * 1_000_000)?;
        assert!(seen.len() >= ACKNOWLEDGED, "round {round}: {} acknowledged", seen.len());
        acknowledged.extend(seen);
        let (store, thread) = open(Arc::new(EngineLog::open(&directory)?), OFTEN).await?;
        let state = store.state();
        let lost: Vec<_> = acknowledged.iter().filter(|number| !has_token(&state, **number)).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        thread.stop(&store).await?;
    }
    Ok(())
}

/// Runs the child, kills it in the middle, and returns everything it had acknowledged.
fn killed_writer(directory: &Path, first: u64) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
    let mut child = Process::new(std::env::current_exe()?)
        .args(["--exact", "kill::every_acknowledged_change_survives_kill_9", "--nocapture"])
        .env(CHILD, format!("{first}:{}", directory.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
    let mut seen = Vec::new();
    let mut killed = false;
    // To the end of the pipe: what was said before the kill counts, however late it is read.
    for line in output.lines() {
        if let Some(number) = line?.split("acknowledged ").nth(1) {
            seen.push(number.parse()?);
        }
        if seen.len() >= ACKNOWLEDGED && !killed {
            killed = true;
            child.kill()?;
        }
    }
    child.wait()?;
    Ok(seen)
}

async fn write_until_killed(order: &str) -> Outcome {
    let (first, directory) = order.split_once(':').ok_or("an order")?;
    let (store, _thread) = open(Arc::new(EngineLog::open(Path::new(directory))?), OFTEN).await?;
    if store.state().cluster().is_none() {
        store.propose_checked(bootstrap()).await?;
    }
    let next = Arc::new(AtomicU64::new(first.parse()?));
    let writers = (0..8).map(|_| {
        let (store, next) = (store.clone(), next.clone());
        async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                store.propose_checked(token(number)).await?;
                writeln!(std::io::stdout().lock(), "acknowledged {number}")?;
            }
        }
    });
    let ended: Vec<Outcome> = join_all(writers).await;
    Err(format!("writers do not end: {ended:?}").into())
}
