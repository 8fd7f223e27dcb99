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
use agent_runtime::keeper::{ContainerState as Held, ContainerStatus, Exit};

use crate::EngineError;
use crate::container::create::{blocking, now_ms};
use crate::container::files;
use crate::container::record::{Entry, Phase};
use crate::container::remove::end_cgroup;
use crate::engine::Inner;
use crate::records::Durability;

/// The code of a container that died with its keeper: nobody saw its own.
const LOST: i32 = 137;

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

impl Inner {
    /// Brings the records in step with what the keeper holds.
    pub(crate) async fn reconcile(self: &Arc<Self>, held: Vec<ContainerStatus>) -> Swept {
        let mut held: BTreeMap<String, ContainerStatus> =
            held.into_iter().map(|status| (status.id.clone(), status)).collect();
        let mut swept = Swept::default();
        let entries: Vec<Arc<Entry>> = self.entries().values().cloned().collect();
        for entry in entries {
            let status = held.remove(&entry.id);
            if let Err(error) = self.recover(&entry, status).await {
                tracing::warn!(container = entry.id, %error, "a container is not recovered");
            }
        }
        for id in held.into_keys() {
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
        status: Option<ContainerStatus>,
    ) -> Result<(), EngineError> {
        let phase = entry.live().record.phase;
        match (phase, status) {
            (Phase::Making | Phase::Removing, _) => {
                let _work = entry.work.lock().await;
                // While the engine runs, whoever held the lock may have finished the work.
                if !matches!(entry.live().record.phase, Phase::Making | Phase::Removing) {
                    return Ok(());
                }
                self.end_stranger(entry.id.clone()).await?;
                self.erase(entry).await
            }
            (_, Some(ContainerStatus { state: Held::Running, pid, .. })) => self.adopt(entry, pid).await,
            (_, Some(ContainerStatus { state: Held::Exited, exit: Some(exit), .. })) => {
                self.ended(entry, exit).await;
                Ok(())
            }
            // Between its making and its start nobody has been told that it runs.
            (_, Some(_)) => {
                let _work = entry.work.lock().await;
                if entry.live().record.phase != Phase::Started {
                    self.tear_down(entry).await;
                }
                Ok(())
            }
            (_, None) => self.recover_unheld(entry, phase).await,
        }
    }

    async fn adopt(&self, entry: &Arc<Entry>, pid: i32) -> Result<(), EngineError> {
        let _work = entry.work.lock().await;
        let endpoint = self.network.attach(&entry.id).await?;
        let cgroup = self.config.cgroup(&entry.id);
        let paused = blocking(move || Ok(Cgroup::open(&cgroup)?.is_frozen())).await?;
        let record = entry.change(|live| {
            live.record.phase = Phase::Started;
            live.record.started_at_ms.get_or_insert_with(now_ms);
            live.record.exit = None;
            live.pid = Some(pid);
            live.paused = paused;
            live.address = Some(endpoint.address);
        });
        self.table.put(&record.id, &record, Durability::Volatile).await?;
        Ok(())
    }

    /// The keeper does not know it: it has ended, or lost its keeper, or never ran.
    async fn recover_unheld(self: &Arc<Self>, entry: &Arc<Entry>, phase: Phase) -> Result<(), EngineError> {
        let dir = self.config.container_dir(&entry.id);
        let recorded = blocking(move || Ok(Exit::read(&dir))).await?;
        let (known, started_at, auto_remove) = {
            let live = entry.live();
            let record = &live.record;
            (record.exit.clone(), record.started_at_ms.unwrap_or(0), record.config.auto_remove)
        };
        let exit = match (phase, recorded) {
            (Phase::Started, Some(exit)) if exit.at_ms >= started_at => exit,
            (Phase::Started, _) => {
                let cgroup = self.config.cgroup(&entry.id);
                blocking(move || end_cgroup(&cgroup)).await?;
                entry.live().record.error = Some("its keeper was lost; it was killed".to_owned());
                Exit { code: LOST, signal: Some(9), oom_killed: false, at_ms: now_ms() }
            }
            (_, Some(exit)) if known.as_ref().is_none_or(|known| known.at_ms < exit.at_ms) => exit,
            (Phase::Exited, _) if auto_remove => {
                let _work = entry.work.lock().await;
                return self.erase(entry).await;
            }
            _ => return Ok(()),
        };
        self.ended(entry, exit).await;
        Ok(())
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
        let is_running = |entry: &&Arc<Entry>| entry.live().address.is_some();
        let running: BTreeSet<String> =
            self.entries().values().filter(is_running).map(|entry| entry.id.clone()).collect();
        for name in self.cgroups().await? {
            if !running.contains(&name) {
                let path = self.config.cgroup(&name);
                blocking(move || end_cgroup(&path)).await?;
                swept.add("cgroup", &name);
            }
        }
        for name in self.network.sweep(&running).await? {
            swept.add("network", &name);
        }
        for id in self.snapshots.list().await? {
            if !known.contains(&id) {
                self.snapshots.remove(&id).await?;
                swept.add("snapshot", &id);
            }
        }
        for name in names(&self.config.containers_dir()) {
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

/// Names of the directories in `dir`; none when it does not exist.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let directories =
        entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
