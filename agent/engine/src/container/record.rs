//! What is remembered of a container, and one container in the engine's memory.
//! The record is written before anything of the container exists on the host,
//! so whatever is found there without one is an orphan.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agent_runtime::keeper::Exit;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::health::Health;
use super::restart::Restarts;
use super::user::Identity;
use super::{Container, ContainerConfig, ContainerState};
use crate::EngineConfig;
use crate::snapshot::{DiffId, IdRange, Mounts};

/// First host id of the first container.
const FIRST_ID: u32 = 1 << 20;
/// Ids of each container.
const IDS: u32 = 1 << 16;
/// So many ranges fit below 2^32.
pub(crate) const RANGES: u32 = (u32::MAX - FIRST_ID) / IDS;

/// How far a container has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Being made: rolled back when found at start.
    Making,
    /// Made.
    Created,
    /// Was started; whether it still runs, the keeper knows.
    Started,
    /// Has exited.
    Exited,
    /// Being removed: finished when found at start.
    Removing,
}

/// An image that is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountedImage {
    /// The source of the mount.
    pub(crate) source: String,
    pub(crate) manifest: crate::content::Digest,
    /// Base first.
    pub(crate) layers: Vec<DiffId>,
}

/// What is remembered of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) config: ContainerConfig,
    pub(crate) phase: Phase,
    pub(crate) image_digest: String,
    /// Base first.
    pub(crate) layers: Vec<DiffId>,
    /// The images that are mounted into it, as they were when it was made.
    #[serde(default)]
    pub(crate) mounted: Vec<MountedImage>,
    /// Entrypoint and command.
    pub(crate) command: Vec<String>,
    /// The image's environment and the caller's.
    pub(crate) env: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) hostname: String,
    pub(crate) identity: Identity,
    pub(crate) stop_signal: i32,
    /// Number of its range of host ids.
    pub(crate) range: u32,
    /// The project by which its writable layer is counted, where that is limited.
    #[serde(default)]
    pub(crate) project: Option<u32>,
    pub(crate) created_at_ms: u64,
    pub(crate) started_at_ms: Option<u64>,
    pub(crate) exit: Option<Exit>,
    pub(crate) error: Option<String>,
    /// Its last end was that of its engine or of the host.
    #[serde(default)]
    pub(crate) taken_down: bool,
    #[serde(default)]
    pub(crate) restarts: Restarts,
    #[serde(default)]
    pub(crate) health: Option<Health>,
    /// It is kept in a file of the container's state directory, not in the database.
    #[serde(skip)]
    pub(crate) noted: bool,
}

impl Record {
    /// The host's ids that are its own: all of them where it has the host's users.
    pub(crate) fn ids(&self) -> IdRange {
        if !self.config.isolation.own_users() {
            return IdRange { base: 0, size: u32::MAX };
        }
        IdRange { base: FIRST_ID + self.range * IDS, size: IDS }
    }

    /// Its cgroup: the engine's own place for it, or below the one it was asked to be under.
    pub(crate) fn cgroup(&self, config: &EngineConfig) -> String {
        match &self.config.isolation.resources.cgroup_parent {
            Some(parent) => format!("{parent}/roadstead-{}-{}", config.instance(), self.id),
            None => config.cgroup(&self.id),
        }
    }

    pub(crate) fn short_id(&self) -> String {
        short(&self.id)
    }

    /// Whether nothing about it need outlive a power cut: it is started at once and removes itself.
    pub(crate) fn is_fleeting(&self) -> bool {
        self.config.auto_remove && self.config.start_follows
    }
}

/// First 12 digits: how ids are shown.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// One container in the engine's memory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// Held by whoever changes the container on the host.
    pub(crate) work: tokio::sync::Mutex<()>,
    live: Mutex<Live>,
    state: watch::Sender<ContainerState>,
}

/// What changes about a container.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) record: Record,
    /// Its directories, as they were made for its first start.
    pub(crate) mounts: Option<Mounts>,
    pub(crate) pid: Option<i32>,
    /// Its processes stand still. Not in the record: the kernel knows.
    pub(crate) paused: bool,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) start_timings: Vec<(String, u64)>,
    /// Far ends of attachments that wait for the next start.
    pub(crate) pending: Vec<UnixStream>,
    /// It is being ended because it does not work: that is a failure, whatever its exit code.
    pub(crate) failing: bool,
    /// It is stopped in order to be started.
    pub(crate) restarting: bool,
    /// Nothing of it is left.
    pub(crate) removed: bool,
}

impl Live {
    /// Whether it has ended and removes itself: its name is free again and lists do not show it, while
    /// whoever waits for it still finds it by its id.
    pub(crate) fn is_leaving(&self) -> bool {
        let is_over = matches!(self.record.phase, Phase::Exited | Phase::Removing);
        self.record.config.auto_remove && is_over && !self.restarting
    }

    fn state(&self) -> ContainerState {
        state_of(&self.record, self.paused)
    }
}

impl Entry {
    pub(crate) fn new(record: Record) -> Entry {
        let state = state_of(&record, false);
        Entry {
            id: record.id.clone(),
            work: tokio::sync::Mutex::default(),
            live: Mutex::new(Live {
                record,
                mounts: None,
                pid: None,
                paused: false,
                address: None,
                start_timings: Vec::new(),
                pending: Vec::new(),
                failing: false,
                restarting: false,
                removed: false,
            }),
            state: watch::Sender::new(state),
        }
    }

    /// Data behind this lock is valid between any two statements.
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> ContainerState {
        self.live().state()
    }

    /// Changes it, tells those who wait, and answers the record to be written.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Live)) -> Record {
        let (record, state) = {
            let mut live = self.live();
            change(&mut live);
            (live.record.clone(), live.state())
        };
        self.state.send_replace(state);
        record
    }

    pub(crate) fn watch(&self) -> watch::Receiver<ContainerState> {
        self.state.subscribe()
    }

    pub(crate) fn container(&self) -> Container {
        let live = self.live();
        let record = &live.record;
        let state = live.state();
        Container {
            id: record.id.clone(),
            name: record.name.clone(),
            config: record.config.clone(),
            image_digest: record.image_digest.clone(),
            command: record.command.clone(),
            env: record.env.clone(),
            working_dir: record.working_dir.clone(),
            hostname: record.hostname.clone(),
            state,
            pid: live.pid.filter(|_| state.is_alive()),
            health: record.health.clone().filter(|_| state.is_alive()),
            exit: record.exit.clone().filter(|_| state.has_ended()),
            restart_count: record.restarts.count,
            restart_at_ms: record.restarts.due_at_ms,
            error: record.error.clone(),
            taken_down: record.taken_down && state.has_ended(),
            address: live.address.filter(|_| state.is_alive()),
            created_at_ms: record.created_at_ms,
            started_at_ms: record.started_at_ms,
            start_timings: live.start_timings.clone(),
        }
    }
}

fn state_of(record: &Record, paused: bool) -> ContainerState {
    match record.phase {
        Phase::Making | Phase::Created => ContainerState::Created,
        Phase::Started if paused => ContainerState::Paused,
        Phase::Started => ContainerState::Running,
        Phase::Exited if record.restarts.due_at_ms.is_some() => ContainerState::Restarting,
        Phase::Exited | Phase::Removing => ContainerState::Exited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_ranges_do_not_overlap_and_stay_below_the_largest_id() {
        assert_eq!(FIRST_ID, 1_048_576);
        let last = u64::from(FIRST_ID) + u64::from(RANGES - 1) * u64::from(IDS) + u64::from(IDS);
        assert!(last <= u64::from(u32::MAX));
    }
}
