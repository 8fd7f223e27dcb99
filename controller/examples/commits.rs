//! How many durable commits per second a group of one makes on this disk.
//!
//! `cargo run --release -p controller --example commits [DIRECTORY]`: for batches
//! of 1, 32 and 128 proposers at a time it prints commits and syncs per second.
//! The directory is made, used and removed; the default is the temporary one.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use controller::consensus::{self, EngineLog, RaftSettings, SnapshotPolicy};
use controller::store::Store;
use controller_core::{Command, Ids, Role, Timestamp};
use futures::future::join_all;

const RUN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for proposers in [1, 32, 128] {
        let directory = parent.join(format!("roadstead-commits-{}", std::process::id()));
        let result = measure(&directory, proposers).await;
        std::fs::remove_dir_all(&directory)?;
        let (commits, seconds) = result?;
        writeln!(
            std::io::stdout(),
            "{proposers:>4} proposers: {:>8.0} commits/s",
            f64::from(commits) / seconds
        )?;
    }
    Ok(())
}

async fn measure(directory: &std::path::Path, proposers: u32) -> anyhow::Result<(u32, f64)> {
    let log = Arc::new(EngineLog::open(directory)?);
    let (store, thread) = consensus::start(&RaftSettings::single(1), SnapshotPolicy::default(), log)?;
    store.status_changes().wait_for(|status| status.leading).await.context("does not lead")?;
    let bootstrap =
        Command::Bootstrap { cluster_id: Ids::new(1).cluster(), root_der: Vec::new(), at: Timestamp(1) };
    store.propose_checked(bootstrap).await?;
    let begun = Instant::now();
    let counts =
        join_all((0..proposers).map(|proposer| tokio::spawn(propose(store.clone(), proposer, begun)))).await;
    let seconds = begun.elapsed().as_secs_f64();
    thread.stop(&store).await?;
    let mut commits = 0;
    for count in counts {
        commits += count??;
    }
    Ok((commits, seconds))
}

async fn propose(store: Store, proposer: u32, begun: Instant) -> anyhow::Result<u32> {
    let mut commits = 0;
    while begun.elapsed() < RUN {
        // A few hundred bytes, and each replaces the one before: the state does not grow.
        let (hash, expires) = (format!("{proposer:0200}"), Timestamp(u64::MAX));
        store.propose(Command::CreateToken { hash, role: Role::Agent, expires, at: Timestamp(1) }).await?;
        commits += 1;
    }
    Ok(commits)
}
