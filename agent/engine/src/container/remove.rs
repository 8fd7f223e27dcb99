//! Removing a container: when it answers, nothing of it is left on the host.

use std::sync::Arc;

use agent_runtime::cgroup::Cgroup;

use super::create::blocking;
use super::record::{Entry, Phase};
use super::{ContainerEventKind, files};
use crate::EngineError;
use crate::engine::Inner;
use crate::records::Durability;

impl Inner {
    pub(crate) async fn remove(self: &Arc<Self>, entry: &Arc<Entry>, force: bool) -> Result<(), EngineError> {
        loop {
            if entry.state().is_alive() {
                if !force {
                    return Err(self.wrong_state(entry, "stop it first, or remove it with force"));
                }
                entry.live().record.restarts.stopped = true;
                self.end_now(entry).await?;
            }
            // Also waits for what is done after its end.
            let _work = entry.work.lock().await;
            if entry.live().removed {
                return Ok(());
            }
            if entry.state().is_alive() {
                continue;
            }
            let freed = self.tear_down(entry).await;
            return self.erase_rest(entry, freed).await;
        }
    }

    /// Takes away all that is left of a container that does not run. The
    /// caller holds its `work` lock.
    pub(crate) async fn erase(&self, entry: &Entry) -> Result<(), EngineError> {
        self.erase_rest(entry, false).await
    }

    /// As [`Inner::erase`]; `freed` says that neither cgroup nor network is left.
    pub(crate) async fn erase_rest(&self, entry: &Entry, freed: bool) -> Result<(), EngineError> {
        if entry.live().removed {
            return Ok(());
        }
        let record = entry.change(|live| {
            // What was only begun for it goes too.
            live.record.config.remove_volumes |= live.record.phase == Phase::Making;
            live.record.phase = Phase::Removing;
            live.record.restarts.due_at_ms = None;
            live.pending.clear();
        });
        // From here on less and less of it is left, so whoever comes after a crash must finish. What removes itself
        // is known by that.
        let durability = if record.config.auto_remove { Durability::Volatile } else { Durability::Synced };
        self.put(&record, durability).await?;
        if let Some(project) = record.project {
            self.snapshots.unlimit(&record.id, project).await;
        }
        if !freed {
            self.network.detach(&record.id).await?;
            let cgroup = record.cgroup(&self.config);
            blocking(move || end_cgroup(&cgroup)).await?;
        }
        self.snapshots.remove(&record.id).await?;
        let config = &record.config;
        if config.remove_volumes || config.auto_remove || config.task.is_some() {
            self.remove_anonymous(&record).await?;
        }
        let state_dir = self.config.container_dir(&record.id);
        blocking(move || files::remove_dir(&state_dir)).await?;
        if !record.noted {
            // Should this be lost, it is removed again.
            self.table.delete(&record.id, Durability::Volatile).await?;
        }
        self.entries().remove(&record.id);
        entry.change(|live| live.removed = true);
        if let Ok(manifest) = record.image_digest.parse() {
            self.images.touch(&manifest);
        }
        self.images.container_gone();
        self.tell(entry, ContainerEventKind::Removed);
        Ok(())
    }
}

/// Kills what lives in a cgroup and removes it; absent is fine.
pub(crate) fn end_cgroup(path: &str) -> Result<(), EngineError> {
    let cgroup = Cgroup::open(path)?;
    if !cgroup.processes().is_empty() {
        cgroup.kill_all()?;
    }
    Ok(cgroup.remove()?)
}
