//! Keeps the published ports of services on this host in step with the
//! containers. The whole wanted set is computed from the containers each time,
//! so there is nothing to lose: what is remembered beside them is which tasks are
//! about to be stopped, and whoever stops them after a crash says so again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use agent_engine::network::{NetworkError, PublishedPort};
use agent_engine::{ContainerEventKind, ContainerState, Engine, EngineError, PortMapping};
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::convert;
use crate::error::describe;

/// Why a task cannot have a port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// A container outside of services has it.
    #[error("port {port}/{protocol} is already published by container {holder}")]
    Held {
        /// The port on the host.
        port: u16,
        /// Its protocol.
        protocol: agent_engine::Protocol,
        /// Name of the container.
        holder: String,
    },
    /// Another process has it, or the kernel refuses it.
    #[error(transparent)]
    Refused(#[from] NetworkError),
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    engine: Engine,
    turn: Arc<Turn>,
    /// Tasks about to be stopped.
    leaving: Arc<std::sync::Mutex<BTreeSet<String>>>,
}

/// Requests that came while one was served are served together by the next.
#[derive(Debug, Default)]
struct Turn {
    asked: AtomicU64,
    served: Mutex<u64>,
}

impl Publisher {
    /// Publishes on the engine's host.
    pub fn new(engine: Engine) -> Self {
        Self { engine, turn: Arc::default(), leaving: Arc::default() }
    }

    /// When this answers, ports lead to the containers that ran when it was called.
    ///
    /// # Errors
    /// The kernel refused the change; everything is as before.
    pub async fn refresh(&self) -> Result<(), EngineError> {
        let asked = self.turn.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut served = self.turn.served.lock().await;
        if *served >= asked {
            return Ok(());
        }
        let serving = self.turn.asked.load(Ordering::SeqCst);
        for refused in self.engine.publish_service_ports(self.wanted()).await? {
            // Whoever needs that port asks `check` for it; all others are published.
            warn!("not published: {refused}");
        }
        *served = serving;
        Ok(())
    }

    /// Leads no new connection to this task, which is about to be stopped, so
    /// that none is refused while it ends.
    pub async fn leave(&self, task_id: &str) {
        self.leaving().insert(task_id.to_owned());
        if let Err(error) = self.refresh().await {
            warn!(error = describe(&error), task = task_id, "it is stopped while its ports still lead to it");
        }
    }

    fn wanted(&self) -> Vec<PublishedPort> {
        let containers = self.engine.list();
        let mut leaving = self.leaving();
        let live = containers.iter().filter(|container| container.state != ContainerState::Exited);
        let live: BTreeSet<_> = live.filter_map(|container| container.config.task.as_deref()).collect();
        leaving.retain(|task| live.contains(task.as_str()));
        convert::service_ports(&containers, &leaving)
    }

    fn leaving(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a task may have these ports: free, or held for tasks already.
    ///
    /// # Errors
    /// Who has the first one that it may not have.
    pub fn check(&self, ports: &[PortMapping]) -> Result<(), PortError> {
        for port in ports {
            if let Some(holder) = self.engine.port_holder(port) {
                return Err(PortError::Held { port: port.published, protocol: port.protocol, holder });
            }
        }
        for port in ports {
            self.engine.network().check_port(port.protocol, port.published)?;
        }
        Ok(())
    }

    /// Refreshes after each end of a task's container until `stop`; starts are
    /// refreshed by whoever starts.
    pub async fn follow(self, stop: CancellationToken) {
        let mut events = self.engine.events();
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = stop.cancelled() => return,
            };
            let matters = match event {
                Ok(event) => {
                    event.task.is_some()
                        && matches!(event.kind, ContainerEventKind::Exited(_) | ContainerEventKind::Removed)
                }
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return,
            };
            if matters && let Err(error) = self.refresh().await {
                warn!(%error, "published ports are not up to date");
            }
        }
    }
}
