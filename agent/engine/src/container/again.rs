//! Stopping and starting in one: what somebody wants who restarts a container
//! by hand. Also how a stop can be asked for.

use std::sync::Arc;
use std::time::Duration;

use super::record::Entry;
use super::{ContainerEventKind, ContainerState};
use crate::engine::Inner;
use crate::{EngineError, Exit};

/// How a container is asked to end; `Default` is what it was made with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// The first signal, by number.
    pub signal: Option<i32>,
    /// Time between it and SIGKILL; [`Duration::MAX`] means that it is never killed.
    pub grace: Option<Duration>,
}

impl Inner {
    /// A stop that somebody asked for, which is told as such.
    pub(crate) async fn stop_as(
        &self,
        entry: &Arc<Entry>,
        options: StopOptions,
    ) -> Result<Exit, EngineError> {
        let was_alive = entry.state().is_alive();
        let exit = self.stop_by(entry, options).await?;
        if was_alive {
            self.tell(entry, ContainerEventKind::Stopped);
        }
        Ok(exit)
    }

    /// The end of its present or next run, not that of the last.
    pub(crate) async fn wait_for_next(&self, entry: &Arc<Entry>) -> Result<Exit, EngineError> {
        let mut state = entry.watch();
        let before = entry.live().record.exit.clone();
        loop {
            let (exit, removed) = {
                let live = entry.live();
                (live.record.exit.clone(), live.removed)
            };
            match exit {
                Some(exit) if Some(&exit) != before.as_ref() => return Ok(exit),
                _ if removed => return Err(EngineError::NoSuchContainer(entry.id.clone())),
                _ => {}
            }
            // Only fails when the entry is gone, and we hold it.
            let _ = state.changed().await;
        }
    }

    pub(crate) async fn restart(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        options: StopOptions,
        trace: Option<String>,
    ) -> Result<(), EngineError> {
        // One that removes itself at its end stays for its next start.
        entry.live().restarting = true;
        let done = self.stop_and_start(entry, options, trace).await;
        entry.live().restarting = false;
        done
    }

    async fn stop_and_start(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        options: StopOptions,
        trace: Option<String>,
    ) -> Result<(), EngineError> {
        if entry.state() != ContainerState::Created {
            self.stop_as(entry, options).await?;
        }
        self.start(entry, trace).await?;
        self.tell(entry, ContainerEventKind::Restarted);
        Ok(())
    }
}
