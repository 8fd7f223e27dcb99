//! Runs the health checks of running containers, each container's in a task of its own that ends with that run of
//! it. What they make of it is decided in `health.rs`; what follows, by the restart policy.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::create::now_ms;
use super::exec::ExecConfig;
use super::health::{Check, Health, HealthResult, HealthStatus, MAX_OUTPUT};
use super::record::Entry;
use super::{ContainerEventKind, ContainerState};
use crate::engine::Inner;
use crate::records::Durability;
use crate::{Attachment, EngineError};

/// Bytes in front of each piece of output.
const FRAME_HEAD: usize = 8;

impl Inner {
    /// Begins to check the container's health, if that was asked for. `again` goes on with what was known.
    pub(crate) fn watch_health(self: &Arc<Self>, entry: &Arc<Entry>, again: bool) {
        let mut live = entry.live();
        let Some(check) = live.record.config.health.as_ref().and_then(super::health::Healthcheck::check)
        else {
            live.record.health = None;
            return;
        };
        if !again || live.record.health.is_none() {
            live.record.health = Some(Health::default());
        }
        let run = live.record.started_at_ms;
        drop(live);
        tokio::spawn(watch(Arc::downgrade(self), Arc::clone(entry), check, run));
    }

    async fn check_health(self: &Arc<Self>, entry: &Arc<Entry>, check: &Check, age: Duration) {
        let result = self.probe(entry, check).await;
        if !matches!(entry.state(), ContainerState::Running) {
            // Its end is no failure of the check.
            return;
        }
        let mut changed = None;
        let record = entry.change(|live| {
            let health = live.record.health.get_or_insert_default();
            if health.take(result, age, check) {
                changed = Some(health.status);
            }
        });
        let Some(status) = changed else { return };
        self.tell(entry, ContainerEventKind::Health(status.to_string()));
        if let Err(error) = self.put(&record, Durability::Synced).await {
            tracing::warn!(container = entry.id, %error, "the health of a container is not recorded");
        }
        let restart = record.config.health.as_ref().is_some_and(|health| health.restart_unhealthy);
        if status == HealthStatus::Unhealthy
            && restart
            && let Err(error) = self.unhealthy(entry).await
        {
            tracing::warn!(container = entry.id, %error, "an unhealthy container is not ended");
        }
    }

    async fn probe(self: &Arc<Self>, entry: &Arc<Entry>, check: &Check) -> HealthResult {
        let started_at_ms = now_ms();
        let (exit_code, output) = match tokio::time::timeout(check.timeout, self.ask(entry, check)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => (-1, error.to_string()),
            Err(_) => {
                let text = format!("the check did not end within {} ms", check.timeout.as_millis());
                (-1, text)
            }
        };
        HealthResult { started_at_ms, ended_at_ms: now_ms(), exit_code, output }
    }

    async fn ask(self: &Arc<Self>, entry: &Arc<Entry>, check: &Check) -> Result<(i32, String), EngineError> {
        let config =
            ExecConfig { command: check.command.clone(), attach: true, quiet: true, ..ExecConfig::default() };
        let (exec, attachment) = self.exec(entry, config).await?;
        let left = Left { inner: Some(Arc::clone(self)), id: exec.id.clone() };
        let output = match attachment {
            Some(attachment) => read_output(attachment).await,
            None => String::new(),
        };
        let exit = self.exec_wait(&exec.id).await?;
        left.end().await;
        Ok((exit.code, output))
    }
}

/// A check that is given up is killed.
struct Left {
    inner: Option<Arc<Inner>>,
    id: String,
}

impl Left {
    async fn end(mut self) {
        if let Some(inner) = self.inner.take() {
            inner.exec_forget(&self.id).await;
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        let (Some(inner), id) = (self.inner.take(), std::mem::take(&mut self.id)) else { return };
        tokio::spawn(async move {
            // Gone meanwhile is as good.
            let _ = inner.exec_kill(&id, 9).await;
            let _ = inner.exec_wait(&id).await;
            inner.exec_forget(&id).await;
        });
    }
}

/// The beginning of the output, both streams in the order they came.
async fn read_output(mut from: Attachment) -> String {
    let mut kept = Vec::new();
    let mut head = [0; FRAME_HEAD];
    let mut piece = [0; 4096];
    while from.read_exact(&mut head).await.is_ok() {
        let mut left = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        while left > 0 {
            let most = left.min(piece.len());
            match from.read(&mut piece[..most]).await {
                Ok(count @ 1..) => {
                    left -= count;
                    let room = MAX_OUTPUT.saturating_sub(kept.len()).min(count);
                    kept.extend_from_slice(&piece[..room]);
                }
                _ => return String::from_utf8_lossy(&kept).into_owned(),
            }
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Checks until this run of the container is over.
async fn watch(engine: Weak<Inner>, entry: Arc<Entry>, check: Check, run: Option<u64>) {
    let mut state = entry.watch();
    let is_over = |entry: &Entry| {
        let live = entry.live();
        live.removed || live.record.started_at_ms != run
    };
    loop {
        let age = Duration::from_millis(now_ms().saturating_sub(run.unwrap_or_default()));
        let pause = entry.live().record.health.as_ref().map_or(check.interval, |one| one.pause(age, &check));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            ended = state.wait_for(|state| !state.is_alive()) => {
                drop(ended);
                return;
            }
        }
        if is_over(&entry) {
            return;
        }
        if entry.state() == ContainerState::Paused {
            continue;
        }
        let Some(inner) = engine.upgrade() else { return };
        let age = Duration::from_millis(now_ms().saturating_sub(run.unwrap_or_default()));
        inner.check_health(&entry, &check, age).await;
    }
}
