//! The [`World`] that is made of the engine: each task is one container, which
//! carries the task's id, so that it is found again by whoever comes next.

use std::sync::Arc;
use std::time::SystemTime;

use agent_engine::container::ContainerConfig;
use agent_engine::image::Reference;
use agent_engine::{Container, ContainerState, Engine, EngineError, PortMapping};
use proto::v1::TaskAssignment;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::fetch::Fetcher;
use super::machine::{Ended, Seen};
use super::world::World;
use crate::error::describe;
use crate::publish::Publisher;
use crate::session::Link;
use crate::{convert, telemetry};

/// Digits of a task's id that make its host name.
const HOSTNAME_DIGITS: usize = 12;

/// The containers of this host's tasks.
#[derive(Debug, Clone)]
pub struct Containers {
    engine: Engine,
    fetcher: Fetcher,
    publisher: Publisher,
    link: watch::Receiver<Link>,
}

impl Containers {
    /// Acts on `engine`; `link` knows the name of this node.
    pub fn new(engine: Engine, fetcher: Fetcher, publisher: Publisher, link: watch::Receiver<Link>) -> Self {
        Self { engine, fetcher, publisher, link }
    }

    fn find(&self, task_id: &str) -> Option<Container> {
        self.engine
            .inspect(task_id)
            .ok()
            .filter(|container| container.config.task.as_deref() == Some(task_id))
    }

    fn config(&self, task: &TaskAssignment) -> Result<ContainerConfig, String> {
        let spec = task.container.clone().unwrap_or_default();
        let mut config = convert::container_config(&spec, &task.ports).map_err(|error| error.to_string())?;
        config.name = Some(format!("{}.{}.{}", task.service_name, task.slot, task.task_id));
        if config.hostname.is_empty() {
            config.hostname = task.task_id.chars().take(HOSTNAME_DIGITS).collect();
        }
        let node = self.link.borrow().node_name.clone();
        config.env.push(format!("ROADSTEAD_SERVICE={}", task.service_name));
        config.env.push(format!("ROADSTEAD_TASK={}", task.task_id));
        config.env.push(format!("ROADSTEAD_SLOT={}", task.slot));
        config.env.push(format!("ROADSTEAD_NODE={node}"));
        config.task = Some(task.task_id.clone());
        config.traceparent = telemetry::context(&task.traceparent);
        Ok(config)
    }

    /// Makes the container and holds its ports; leaves nothing behind on an error.
    async fn create(&self, config: ContainerConfig) -> Result<(), String> {
        let ports = config.ports.clone();
        let id = self.engine.create(config).await.map_err(|error| describe(&error))?;
        if let Err(reason) = self.hold(&ports).await {
            if let Err(error) = self.engine.remove(&id, true).await {
                warn!(container = id, error = describe(&error), "a rejected task's container is left");
            }
            return Err(reason);
        }
        Ok(())
    }

    /// Brings published ports up to date and makes sure that these are ours.
    async fn hold(&self, ports: &[PortMapping]) -> Result<(), String> {
        if ports.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.publisher.refresh().await {
            // Perhaps another service's port: only what is asked below decides about this one.
            warn!(error = describe(&error), "published ports are not up to date");
        }
        self.publisher.check(ports).map_err(|error| describe(&error))
    }
}

impl World for Containers {
    fn see(&self, task_id: &str) -> Seen {
        let Some(container) = self.find(task_id) else { return Seen::Absent };
        match (container.state, container.exit) {
            (ContainerState::Created, _) => Seen::Created,
            (ContainerState::Running | ContainerState::Paused, _) => Seen::Running {
                address: container.address,
                pid: container.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
            },
            (ContainerState::Exited | ContainerState::Restarting, Some(exit)) => Seen::Exited(Ended {
                code: exit.code,
                out_of_memory: exit.oom_killed,
                reason: container.error,
                taken_down: container.taken_down,
                at_ms: exit.at_ms,
            }),
            (ContainerState::Exited | ContainerState::Restarting, None) => {
                let at_ms = container.started_at_ms.unwrap_or(container.created_at_ms);
                let (reason, taken_down) = (container.error, container.taken_down);
                Seen::Exited(Ended { code: 255, out_of_memory: false, reason, taken_down, at_ms })
            }
        }
    }

    fn tasks(&self) -> Vec<String> {
        self.engine.list().into_iter().filter_map(|container| container.config.task).collect()
    }

    async fn prepare(&self, task: Arc<TaskAssignment>, cancel: CancellationToken) -> Result<(), String> {
        if self.find(&task.task_id).is_some() {
            return Ok(());
        }
        let config = self.config(&task)?;
        // Before the pull, so that a port in use is told at once.
        self.publisher.check(&config.ports).map_err(|error| describe(&error))?;
        let image: Reference = config.image.parse().map_err(|error| describe(&error))?;
        tokio::select! {
            fetched = self.fetcher.ensure(&image) => fetched.map_err(|error| describe(&error))?,
            () = cancel.cancelled() => return Err("not wanted any more".to_owned()),
        }
        self.create(config).await
    }

    async fn start(&self, task: Arc<TaskAssignment>) -> Result<(), String> {
        let trace = telemetry::context(&task.traceparent);
        let begun = SystemTime::now();
        let timings =
            self.engine.start_traced(&task.task_id, trace).await.map_err(|error| describe(&error))?;
        telemetry::start_steps(begun, &timings);
        let ports = self.find(&task.task_id).map(|container| container.config.ports).unwrap_or_default();
        if let Err(reason) = self.hold(&ports).await {
            self.stop(&task.task_id).await?;
            return Err(reason);
        }
        Ok(())
    }

    async fn stop(&self, task_id: &str) -> Result<(), String> {
        if self.find(task_id).is_some_and(|container| !container.config.ports.is_empty()) {
            self.publisher.leave(task_id).await;
        }
        match self.engine.stop(task_id, None).await {
            Ok(_) | Err(EngineError::NoSuchContainer(_) | EngineError::State { .. }) => Ok(()),
            Err(error) => Err(describe(&error)),
        }
    }

    async fn remove(&self, task_id: &str) -> Result<(), String> {
        match self.engine.remove(task_id, true).await {
            Ok(()) | Err(EngineError::NoSuchContainer(_)) => Ok(()),
            Err(error) => Err(describe(&error)),
        }
    }
}
