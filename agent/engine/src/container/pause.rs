//! Pausing: the container's processes stand still in the freezer and go on
//! later. Whether one is paused is the kernel's knowledge, so a container is as
//! paused after a restart of the agent as it was before.

use std::sync::Arc;

use agent_runtime::cgroup::Cgroup;

use super::create::blocking;
use super::record::Entry;
use super::{ContainerEventKind, ContainerState};
use crate::EngineError;
use crate::engine::Inner;

impl Inner {
    pub(crate) async fn pause(&self, entry: &Arc<Entry>) -> Result<(), EngineError> {
        let _work = entry.work.lock().await;
        match entry.state() {
            ContainerState::Running => {}
            ContainerState::Paused => return Err(self.wrong_state(entry, "it stands still already")),
            _ => return Err(self.wrong_state(entry, "only a running one can be paused")),
        }
        let cgroup = entry.live().record.cgroup(&self.config);
        blocking(move || Ok(Cgroup::open(&cgroup)?.freeze()?)).await?;
        entry.change(|live| live.paused = true);
        self.tell(entry, ContainerEventKind::Paused);
        Ok(())
    }

    pub(crate) async fn unpause(&self, entry: &Arc<Entry>) -> Result<(), EngineError> {
        let _work = entry.work.lock().await;
        if entry.state() != ContainerState::Paused {
            return Err(self.wrong_state(entry, "only a paused one can go on"));
        }
        self.thaw(entry).await
    }

    /// Lets a paused container go on, so that the signal that was sent arrives.
    pub(crate) async fn wake(&self, entry: &Arc<Entry>) -> Result<(), EngineError> {
        if entry.state() != ContainerState::Paused {
            return Ok(());
        }
        let _work = entry.work.lock().await;
        if entry.state() != ContainerState::Paused {
            return Ok(());
        }
        self.thaw(entry).await
    }

    /// The caller holds the `work` lock.
    async fn thaw(&self, entry: &Arc<Entry>) -> Result<(), EngineError> {
        let cgroup = entry.live().record.cgroup(&self.config);
        blocking(move || Ok(Cgroup::open(&cgroup)?.thaw()?)).await?;
        entry.change(|live| live.paused = false);
        self.tell(entry, ContainerEventKind::Unpaused);
        Ok(())
    }
}
