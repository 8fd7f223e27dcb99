//! What opening an engine does about the past: adopts what runs, learns what
//! ended meanwhile, finishes or takes back what was half done, and sweeps what
//! is on the host and in no record. The same is done when the keeper is lost
//! while the engine runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_runtime::cgroup::Cgroup;
use agent_runtime::keeper::client::{Client, ClientError};
use agent_runtime::keeper::{ContainerState as Held, ContainerStatus, Exit, LastRun};

use crate::EngineError;
use crate::container::create::{blocking, now_ms};
use crate::container::files;
use crate::container::isolation::NetworkMode;
use crate::container::record::{Entry, Phase};
use crate::container::remove::end_cgroup;
use crate::engine::Inner;
use crate::records::Durability;

/// How often a container's recovery is tried: one that fails leaves its record and the host at odds.
const TRIES: u32 = 3;

/// Between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// What was found on the host that belonged to no container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// One line each: kind and name.
    pub removed: Vec<String>,
}

impl Swept {
    fn add(&mut self, kind: &str, name: &str) {
        tracing::info!(kind, name, "swept an orphan");
        self.removed.push(format!("{kind} {name}"));
    }
}

/// What became of containers that no keeper holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Their keeper ended, and they with it.
    Keeper,
    /// The host was restarted.
    Host,
}

impl Lost {
    /// Between the boot that was last served, if one was, and this one.
    pub(crate) fn since(last: Option<&str>, now: &str) -> Lost {
        let is_other = last.is_some_and(|last| last != now);
        if is_other { Lost::Host } else { Lost::Keeper }
    }

    fn reason(self) -> &'static str {
        match self {
            Lost::Keeper => "the keeper ended, and its containers with it",
            Lost::Host => "the host was restarted while it ran",
        }
    }

    /// Nobody saw its own code: of a killed container it is SIGKILL's, after a reboot 255, as with Docker.
    fn exit(self) -> Exit {
        let (code, signal) = match self {
            Lost::Keeper => (137, Some(9)),
            Lost::Host => (255, None),
        };
        Exit { code, signal, oom_killed: false, at_ms: now_ms() }
    }
}

impl Inner {
    /// Brings the records in step with what the keeper holds. While the engine runs (not `opening`), starts and
    /// removals go on beside this, so what the keeper said before they ended is asked again.
    pub(crate) async fn reconcile(
        self: &Arc<Self>,
        held: Vec<ContainerStatus>,
        lost: Lost,
        opening: bool,
    ) -> Swept {
        let mut held: BTreeMap<String, ContainerStatus> =
            held.into_iter().map(|status| (status.id.clone(), status)).collect();
        let mut swept = Swept::default();
        let entries: Vec<Arc<Entry>> = self.entries().values().cloned().collect();
        for entry in entries {
            let status = held.remove(&entry.id);
            let mut status = opening.then_some(status);
            for tries_left in (0..TRIES).rev() {
                match self.recover(&entry, status.take(), lost).await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::warn!(container = entry.id, %error, tries_left, "a container is not recovered");
                        tokio::time::sleep(BETWEEN_TRIES).await;
                    }
                }
            }
        }
        for id in held.into_keys().filter(|id| !self.entries().contains_key(id)) {
            match self.end_stranger(id.clone()).await {
                Ok(()) => swept.add("container", &id),
                Err(error) => {
                    tracing::warn!(container = id, %error, "an unknown container in the keeper stays");
                }
            }
        }
        swept
    }

    async fn recover(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        status: Option<Option<ContainerStatus>>,
        lost: Lost,
    ) -> Result<(), EngineError> {
        let _work = entry.work.lock().await;
        if entry.live().removed {
            return Ok(());
        }
        let status = match status {
            None => self.held(&entry.id).await?,
            Some(known) => known,
        };
        let phase = entry.live().record.phase;
        match (phase, status) {
            (Phase::Making | Phase::Removing, _) => {
                self.end_stranger(entry.id.clone()).await?;
                self.erase(entry).await
            }
            (_, Some(ContainerStatus { state: Held::Running, pid, .. })) => self.adopt(entry, pid).await,
            (_, Some(ContainerStatus { state: Held::Exited, exit: Some(exit), .. })) => {
                self.ended_locked(entry, exit).await;
                // Also when its end was known already.
                self.tear_down(entry).await;
                Ok(())
            }
            (_, Some(_)) => {
                // Between its making and its start nobody has been told that it runs.
                self.end_stranger(entry.id.clone()).await?;
                self.recover_unheld(entry, lost).await
            }
            (_, None) => self.recover_unheld(entry, lost).await,
        }
    }

    /// What the keeper says of one container now.
    async fn held(&self, id: &str) -> Result<Option<ContainerStatus>, EngineError> {
        let list = self.keeper.run(None, Client::list).await?;
        let all = list.map_err(|error| EngineError::Keeper(error.to_string()))?;
        Ok(all.into_iter().find(|status| status.id == id))
    }

    async fn adopt(self: &Arc<Self>, entry: &Arc<Entry>, pid: i32) -> Result<(), EngineError> {
        let on_bridge = entry.live().record.config.isolation.namespaces.network == NetworkMode::Bridge;
        let address = match on_bridge {
            true => Some(self.network.attach(&entry.id).await?.address),
            false => None,
        };
        let cgroup = entry.live().record.cgroup(&self.config);
        let paused = blocking(move || Ok(Cgroup::open(&cgroup)?.is_frozen())).await?;
        let record = entry.change(|live| {
            live.record.phase = Phase::Started;
            live.record.started_at_ms.get_or_insert_with(now_ms);
            live.record.exit = None;
            live.record.restarts.due_at_ms = None;
            live.pid = Some(pid);
            live.paused = paused;
            live.address = address;
        });
        self.watch_health(entry, true);
        self.put(&record, Durability::Volatile).await
    }

    /// The keeper does not know it: it has ended, or lost its keeper, or never
    /// ran. The keeper's files in its state directory say which, since records
    /// are written lazily.
    async fn recover_unheld(self: &Arc<Self>, entry: &Arc<Entry>, lost: Lost) -> Result<(), EngineError> {
        // Whatever lives in there has nobody who would log or reap it.
        let cgroup = entry.live().record.cgroup(&self.config);
        blocking(move || end_cgroup(&cgroup)).await?;
        let dir = self.config.container_dir(&entry.id);
        let last = blocking(move || Ok(LastRun::read(&dir))).await?;
        let (phase, known, auto_remove) = {
            let live = entry.live();
            (live.record.phase, live.record.exit.clone(), live.record.config.auto_remove)
        };
        let exit = match last {
            LastRun::Ended(ref exit) if known.as_ref() == Some(exit) && phase == Phase::Exited => None,
            LastRun::Ended(ref exit) => Some(exit.clone()),
            LastRun::Running => Some(lost.exit()),
            LastRun::None => (phase == Phase::Started).then(|| lost.exit()),
        };
        if auto_remove && (phase == Phase::Exited || !self.is_whole(entry).await?) {
            // It was removing itself.
            return self.erase(entry).await;
        }
        let Some(exit) = exit else {
            if entry.live().address.is_some() {
                self.tear_down(entry).await;
            }
            return Ok(());
        };
        if !matches!(last, LastRun::Ended(_)) {
            entry.change(|live| {
                live.record.error = Some(lost.reason().to_owned());
                live.record.taken_down = lost == Lost::Host;
            });
            let (dir, exit) = (self.config.container_dir(&entry.id), exit.clone());
            blocking(move || exit.settle(&dir).map_err(|error| EngineError::file("write", dir, error)))
                .await?;
        }
        self.ended_locked(entry, exit).await;
        Ok(())
    }

    /// Whether all its directories are there: removing takes them away one by one.
    async fn is_whole(&self, entry: &Entry) -> Result<bool, EngineError> {
        let has_state = self.config.container_dir(&entry.id).is_dir();
        Ok(has_state && self.snapshots.list().await?.contains(&entry.id))
    }

    /// Ends a container of the keeper that is in no record.
    async fn end_stranger(&self, id: String) -> Result<(), EngineError> {
        let end = move |client: &mut Client| {
            use agent_runtime::keeper::protocol::ErrorKind::{NotFound, State};
            for _ in 0..500 {
                match client.delete(&id) {
                    Ok(()) | Err(ClientError::Refused { kind: NotFound, .. }) => return Ok(()),
                    Err(ClientError::Refused { kind: State, .. }) => {}
                    Err(error) => return Err(error),
                }
                // It runs: kill it, and try again once it has been reaped.
                let _ = client.kill(&id, 9);
                std::thread::sleep(Duration::from_millis(20));
            }
            client.delete(&id)
        };
        self.keeper.run(None, end).await?.map_err(|error| EngineError::Keeper(error.to_string()))
    }

    /// Removes what is on the host under names of ours and in no record.
    pub(crate) async fn sweep(&self, swept: &mut Swept) -> Result<(), EngineError> {
        let known: BTreeSet<String> = self.entries().keys().cloned().collect();
        // An address: from before it runs until after. A process: also without a network on the bridge.
        let is_running = |entry: &&Arc<Entry>| entry.live().address.is_some() || entry.state().is_alive();
        let running: BTreeSet<String> =
            self.entries().values().filter(is_running).map(|entry| entry.id.clone()).collect();
        // All lists before the first removal: one that cannot be read sweeps nothing.
        let (cgroups, snapshots) = (self.cgroups().await?, self.snapshots.list().await?);
        let states = names(&self.config.containers_dir())?;
        self.unmount_volumes().await?;
        for name in cgroups {
            if !running.contains(&name) {
                let path = self.config.cgroup(&name);
                blocking(move || end_cgroup(&path)).await?;
                swept.add("cgroup", &name);
            }
        }
        for name in self.network.sweep(&running).await? {
            swept.add("network", &name);
        }
        for id in snapshots {
            if !known.contains(&id) {
                self.snapshots.remove(&id).await?;
                swept.add("snapshot", &id);
            }
        }
        for name in states {
            if !known.contains(&name) {
                let dir = self.config.container_dir(&name);
                blocking(move || files::remove_dir(&dir)).await?;
                swept.add("state", &name);
            }
        }
        Ok(())
    }

    /// Names of this engine's cgroups, which are ids of containers.
    async fn cgroups(&self) -> Result<BTreeSet<String>, EngineError> {
        let parent = self.config.cgroup("");
        let list = move || {
            let parent = Cgroup::open(parent.trim_end_matches('/'))?;
            Ok(parent.children())
        };
        blocking(list).await
    }
}

/// Names of the directories in `dir`. What cannot be read is an error: it says nothing about what is there.
fn names(dir: &Path) -> Result<Vec<String>, EngineError> {
    let failed = |error| EngineError::file("list", dir, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            found.extend(entry.file_name().into_string().ok());
        }
    }
    Ok(found)
}
