//! Keeps the published ports of services on this host in step with the
//! containers. The whole wanted set is computed from the containers each time,
//! so there is nothing to remember and nothing to lose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_engine::network::NetworkError;
use agent_engine::{ContainerEventKind, ContainerState, Engine, EngineError, PortMapping};
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::convert;

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
        Self { engine, turn: Arc::default() }
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
        let wanted = convert::service_ports(&self.engine.list());
        for refused in self.engine.publish_service_ports(wanted).await? {
            // Whoever needs that port asks `check` for it; all others are published.
            warn!("not published: {refused}");
        }
        *served = serving;
        Ok(())
    }

    /// Whether a task may have these ports: free, or held for tasks already.
    ///
    /// # Errors
    /// Who has the first one that it may not have.
    pub fn check(&self, ports: &[PortMapping]) -> Result<(), PortError> {
        if ports.is_empty() {
            return Ok(());
        }
        let containers = self.engine.list();
        let plain = containers.iter().filter(|container| {
            container.config.task.is_none() && container.state == ContainerState::Running
        });
        for container in plain {
            let theirs = &container.config.ports;
            let key = |port: &PortMapping| (port.protocol, port.published);
            if let Some(port) = ports.iter().find(|port| theirs.iter().any(|other| key(other) == key(port))) {
                let holder = container.name.clone();
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
