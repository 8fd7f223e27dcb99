//! Starting again what its policy wants running: timers that lead from a
//! record's due time to a start. The decision itself is `container/restart.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use crate::EngineError;
use crate::container::create::{blocking, now_ms};
use crate::container::fleeting;
use crate::container::record::{Entry, Phase, Record};
use crate::container::restart::{self, End, Restarts};
use crate::records::Durability;

impl Inner {
    /// What the policy makes of an end; nothing while the engine closes, which is nobody's failure.
    pub(crate) fn decide(&self, record: &Record, end: End) -> Restarts {
        if self.check_open().is_err() {
            return record.restarts.clone();
        }
        restart::after_end(record.config.restart, &record.restarts, end, now_ms())
    }

    /// Whoever wants it running again must find that in the record, whatever is killed meanwhile.
    pub(crate) fn durability(record: &Record) -> Durability {
        match record.config.restart {
            restart::RestartPolicy::No => Durability::Volatile,
            _ => Durability::Synced,
        }
    }

    /// Starts it when it is due. A start, stop or removal before that makes this come to nothing.
    pub(crate) fn schedule(self: &Arc<Self>, entry: &Arc<Entry>) {
        let Some(due) = entry.live().record.restarts.due_at_ms else {
            return;
        };
        let (engine, entry) = (Arc::downgrade(self), Arc::downgrade(entry));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(due.saturating_sub(now_ms()))).await;
            if let (Some(inner), Some(entry)) = (engine.upgrade(), entry.upgrade()) {
                inner.start_again(&entry, due).await;
            }
        });
    }

    async fn start_again(self: &Arc<Self>, entry: &Arc<Entry>, due: u64) {
        let _work = entry.work.lock().await;
        let is_wanted = {
            let live = entry.live();
            !live.removed && live.record.phase == Phase::Exited && live.record.restarts.due_at_ms == Some(due)
        };
        if !is_wanted || self.check_open().is_err() {
            return;
        }
        let done = match self.launch(entry, None).await {
            Ok(launched) => self.started(entry, launched).await.map(drop),
            Err(error) => {
                tracing::warn!(container = entry.id, %error, "a container cannot be started again");
                self.tear_down(entry).await;
                let record = entry.change(|live| {
                    live.record.error = Some(error.to_string());
                    let end = End { failed: true, ran_ms: 0 };
                    live.record.restarts = self.decide(&live.record, end);
                });
                self.schedule(entry);
                self.put(&record, Inner::durability(&record)).await
            }
        };
        if let Err(error) = done {
            tracing::warn!(container = entry.id, %error, "the restart of a container is not recorded");
        }
    }

    /// It was ended by hand: its policy must not start it again, and does not
    /// after a crash of ours either.
    pub(crate) async fn hold_back(&self, entry: &Entry) -> Result<(), EngineError> {
        let has_policy = entry.live().record.config.restart != restart::RestartPolicy::No;
        if has_policy && !entry.live().record.restarts.stopped {
            let record = entry.change(|live| {
                live.record.restarts.stopped = true;
                live.record.restarts.due_at_ms = None;
            });
            self.put(&record, Durability::Synced).await?;
        }
        Ok(())
    }

    /// It is started by hand: what its policy did before does not count any more.
    pub(crate) async fn start_over(&self, entry: &Entry) -> Result<(), EngineError> {
        let past = entry.live().record.restarts.clone();
        if past == Restarts::default() {
            return Ok(());
        }
        let record = entry.change(|live| live.record.restarts = Restarts::default());
        // Without this a crash could bring back that it is to stay stopped, after it was started.
        self.put(&record, if past.stopped { Durability::Synced } else { Durability::Volatile }).await
    }

    /// Ends a container that its health check finds unhealthy. That counts as a
    /// failure, so its policy, if it has one, brings it back.
    ///
    /// # Errors
    /// When the keeper cannot be reached.
    pub(crate) async fn unhealthy(&self, entry: &Arc<Entry>) -> Result<(), EngineError> {
        entry.live().failing = true;
        self.end(entry, None).await.map(drop)
    }

    /// After opening: what was pending or running and is to run starts.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), EngineError> {
        let entries: Vec<Arc<Entry>> = self.entries().values().cloned().collect();
        for entry in entries {
            let (phase, policy, past) = {
                let live = entry.live();
                (live.record.phase, live.record.config.restart, live.record.restarts.clone())
            };
            if phase != Phase::Exited {
                continue;
            }
            let now = restart::at_open(policy, &past, now_ms());
            if now != past {
                let record = entry.change(|live| live.record.restarts = now);
                self.put(&record, Durability::Volatile).await?;
            }
            self.schedule(&entry);
        }
        Ok(())
    }

    /// Writes a record where it is kept. That of a container which is gone after its end anyway is written again only
    /// where a person changed it: what it does itself, the keeper knows.
    pub(crate) async fn put(&self, record: &Record, durability: Durability) -> Result<(), EngineError> {
        if !record.noted {
            return Ok(self.table.put(&record.id, record, durability).await?);
        }
        if durability == Durability::Synced {
            let (dir, record) = (self.config.container_dir(&record.id), record.clone());
            blocking(move || fleeting::note_again(&dir, &record)).await?;
        }
        Ok(())
    }
}
