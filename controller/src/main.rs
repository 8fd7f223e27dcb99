//! The `controller` program: parse, lock, bind, open the log, serve, stop.
//!
//! Whatever keeps it from running is one line on standard error, and an exit code:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | stopped as asked |
//! | 1 | anything not named below |
//! | 2 | wrong command line |
//! | 3 | the address cannot be listened on (port in use) |
//! | 4 | the data directory cannot be used (not writable, of another cluster) |
//! | 5 | the data directory is held by another controller |
//! | 6 | the log is damaged or not readable; nothing was changed |
//! | 7 | the log could not be made durable while running |
#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Parser;
use controller::ca::{Ca, CaError};
use controller::config::Config;
use controller::consensus::{
    self, EngineLog, LogError, OpenError, RaftError, RaftSettings, RaftThread, SnapshotPolicy,
};
use controller::data_dir::{DataDir, DataDirError};
use controller::server::{self, Services, SharedIds};
use controller::store::Store;
use controller::tls::Limits;
use controller::{leader, shutdown, telemetry};
use controller_core::Command;
use tokio::net::TcpListener;

/// The Raft id of a cluster's first controller.
const FIRST: u64 = 1;
/// Rebuilding the state and leading a group of one takes milliseconds; more means trouble.
const LEAD_WITHIN: Duration = Duration::from_secs(30);
/// What is left to do after the server has ended.
const LINGER: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let begun = Instant::now();
    let config = Config::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&anyhow!("no threads: {error}")),
    };
    let outcome = runtime.block_on(run(config, begun));
    // Not a plain drop: reading standard input cannot be interrupted.
    runtime.shutdown_timeout(LINGER);
    outcome.map_or_else(|error| report(&error), |()| ExitCode::SUCCESS)
}

async fn run(config: Config, begun: Instant) -> anyhow::Result<()> {
    let telemetry = telemetry::init("controller")?;
    let stop = shutdown::listen(config.exit_with_stdin).context("signals cannot be handled")?;
    let outcome = control(&config, begun, stop).await;
    // Blocks while it sends the last spans.
    let _ = tokio::task::spawn_blocking(|| telemetry.shutdown()).await;
    outcome
}

async fn control(
    config: &Config,
    begun: Instant,
    stop: impl Future<Output = shutdown::Reason>,
) -> anyhow::Result<()> {
    let _held = DataDir::hold(&config.data_dir)?;
    let listener =
        TcpListener::bind(config.listen).await.map_err(|error| Unbound { address: config.listen, error })?;
    let address = listener.local_addr()?;
    let ca = Ca::open_or_create(&config.ca_dir())?;
    let log = EngineLog::open(&config.raft_dir())?;
    let (store, mut raft) =
        consensus::start(&RaftSettings::single(FIRST), SnapshotPolicy::default(), Arc::new(log))?;
    lead(&store, &mut raft).await?;
    bootstrap(&store, &ca).await?;
    let (leader, leading) = leader::run(store.clone(), random_seed()?);
    let leading = tokio::spawn(leading);
    let services = Services {
        store: store.clone(),
        leader,
        ca,
        ids: SharedIds::random()?,
        admin_dir: Some(config.admin_dir()),
        limits: Limits::default(),
    };
    let stop = async {
        let reason = stop.await;
        tracing::info!(%reason, "stopping");
    };
    tracing::info!(%address, advertised = config.advertised(), started_ms = millis(begun), "controller is ready");
    let served = tokio::select! {
        served = server::serve(listener, services, stop) => served.map_err(anyhow::Error::from),
        error = raft.failed() => return Err(error.into()),
    };
    leading.abort();
    raft.stop(&store).await?;
    served
}

/// Waits until this controller leads and its state is complete.
async fn lead(store: &Store, raft: &mut RaftThread) -> anyhow::Result<()> {
    let mut status = store.status_changes();
    tokio::select! {
        led = tokio::time::timeout(LEAD_WITHIN, status.wait_for(|status| status.leading)) => {
            led.context("this controller did not come to lead its cluster of one")??;
            Ok(())
        }
        error = raft.failed() => Err(error.into()),
    }
}

/// Makes the cluster on the first start; afterwards checks that keys and state belong together.
async fn bootstrap(store: &Store, ca: &Ca) -> anyhow::Result<()> {
    let cluster_id = ca.cluster_id().parse().context("the cluster's keys name no cluster id")?;
    match store.state().cluster() {
        None => {
            let command =
                Command::Bootstrap { cluster_id, root_der: ca.root_der().to_vec(), at: leader::clock() };
            store.propose_checked(command).await?;
            tracing::info!(cluster = %cluster_id, "made a new cluster");
            Ok(())
        }
        Some(cluster) if cluster.id == cluster_id => Ok(()),
        Some(cluster) => Err(Mixed { keys: cluster_id.to_string(), log: cluster.id.to_string() }.into()),
    }
}

/// From the kernel, so that no two leaders ever make the same ids.
fn random_seed() -> anyhow::Result<u64> {
    let mut seed = [0_u8; 8];
    let mut source = std::fs::File::open("/dev/urandom").context("the system gives no random numbers")?;
    io::Read::read_exact(&mut source, &mut seed).context("the system gives no random numbers")?;
    Ok(u64::from_le_bytes(seed))
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", match error.kind() {
    io::ErrorKind::AddrInUse => "the port is in use; stop the program that has it, or choose another --listen".to_owned(),
    _ => error.to_string(),
})]
struct Unbound {
    address: std::net::SocketAddr,
    error: io::Error,
}

/// Keys of one cluster beside the log of another.
#[derive(Debug, thiserror::Error)]
#[error(
    "the keys in this data directory are of cluster {keys}, its log is of cluster {log}: two directories were mixed up"
)]
struct Mixed {
    keys: String,
    log: String,
}

/// Says what went wrong, in one line, and returns the exit code for it.
fn report(error: &anyhow::Error) -> ExitCode {
    let mut words = error.to_string();
    // Some errors quote their cause, some leave that to whoever prints them.
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    eprintln!("controller: {words}");
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Unbound>() {
        return 3;
    }
    if error.is::<Mixed>() || error.is::<CaError>() {
        return 4;
    }
    match error.downcast_ref::<DataDirError>() {
        Some(DataDirError::Unusable { .. }) => return 4,
        Some(DataDirError::Locked { .. }) => return 5,
        None => {}
    }
    let raft = match error.downcast_ref::<RaftError>() {
        Some(RaftError::Log(error) | RaftError::Open(OpenError::Log(error))) => Some(error),
        Some(RaftError::Snapshot(_) | RaftError::Entry { .. } | RaftError::Open(_)) => return 6,
        Some(RaftError::Thread(_) | RaftError::Panic(_)) | None => None,
    };
    match raft.or_else(|| error.downcast_ref::<LogError>()) {
        Some(LogError::Write { .. }) => 7,
        Some(LogError::Damaged { .. } | LogError::Format { .. } | LogError::Read { .. }) => 6,
        None => 1,
    }
}
