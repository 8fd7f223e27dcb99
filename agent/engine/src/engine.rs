//! The engine's public face: one handle, cheap to clone. Each verb is one
//! method that resolves the container and calls the file of that verb; verbs
//! that change something go on to their end even when their caller goes away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::Stream;
use tokio::sync::broadcast;

use self::boot::Boots;
use crate::attestor::{Attestations, Attestor};
use crate::container::exec::Execs;
use crate::container::record::Entry;
use crate::container::{
    Container, ContainerConfig, ContainerEvent, ContainerEventKind, WindowSize, event, identity,
};
use crate::events::{Events, Subject};
use crate::host::Host;
use crate::image::Images;
use crate::keeper::Keeper;
use crate::network::{Network, NetworkError, PublishedPort};
use crate::records::{Records, Table};
use crate::snapshot::Snapshots;
use crate::volume::Volumes;
use crate::{Attachment, EngineConfig, EngineError, Exit, LogEntry, LogOptions, Swept, Usage};

mod boot;
mod commit;
mod compress;
mod control;
mod disk;
mod exec;
mod files;
mod housekeeping;
mod images;
mod open;
mod restart;
mod volumes;

pub use self::volumes::VolumeInUse;

pub use commit::CommitOptions;
pub use disk::DiskUsage;
pub use files::CopySteps;
pub use images::ImportOptions;

/// Events a subscriber may be behind before it loses the oldest.
const EVENTS: usize = 4096;

/// One engine. Dropping the last handle leaves the containers and the keeper
/// running; [`Engine::shutdown`] can end them.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    swept: Arc<Swept>,
}

/// What the verbs share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    records: Records,
    boots: Boots,
    pub(crate) table: Table,
    pub(crate) images: Images,
    pub(crate) snapshots: Snapshots,
    pub(crate) volumes: Volumes,
    pub(crate) network: Network,
    pub(crate) keeper: Keeper,
    pub(crate) attestor: Arc<Attestor>,
    pub(crate) host: Host,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
    services: Mutex<Vec<PublishedPort>>,
    pub(crate) execs: Execs,
    pub(crate) publishing: tokio::sync::Mutex<()>,
    events: broadcast::Sender<ContainerEvent>,
    /// The same in words, with what happens to other objects.
    pub(crate) told: Events,
    closing: AtomicBool,
}

impl Inner {
    pub(crate) fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn services(&self) -> MutexGuard<'_, Vec<PublishedPort>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, entry: &Entry, kind: ContainerEventKind) {
        let (task, mut attributes) = {
            let live = entry.live();
            (live.record.config.task.clone(), event::attributes(&live.record))
        };
        let (action, more) = kind.describe();
        attributes.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
        self.told.tell(Subject::Container, action, &entry.id, attributes);
        // Nobody may be listening.
        let _ = self.events.send(ContainerEvent { id: entry.id.clone(), task, kind });
    }

    fn resolve(&self, container: &str) -> Result<Arc<Entry>, EngineError> {
        identity::resolve(&self.entries(), container)
    }

    fn check_open(&self) -> Result<(), EngineError> {
        if self.closing.load(Ordering::Relaxed) { Err(EngineError::Closed) } else { Ok(()) }
    }
}

impl Engine {
    /// What opening found on the host that belonged to no container.
    pub fn swept(&self) -> &Swept {
        &self.swept
    }

    /// The keeper's process.
    pub fn keeper_pid(&self) -> i32 {
        self.inner.keeper.pid()
    }

    /// What this host's kernel has, as it was when the engine was opened.
    pub fn host(&self) -> &Host {
        &self.inner.host
    }

    /// What it was opened with, its directories absolute.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// How many starts were compared with what the kernel says, and how many of them were stopped for it.
    pub fn attestations(&self) -> Attestations {
        self.inner.attestor.counts()
    }

    /// The images on this host.
    pub fn images(&self) -> &Images {
        &self.inner.images
    }

    /// The network of this host. Published ports are set by
    /// [`Engine::publish_service_ports`] only, which knows all of them.
    pub fn network(&self) -> &Network {
        &self.inner.network
    }

    /// Makes a container and answers with its id; nothing runs yet.
    ///
    /// # Errors
    /// Anything wrong with the request, named by its field; then nothing was made.
    pub async fn create(&self, config: ContainerConfig) -> Result<String, EngineError> {
        self.inner.check_open()?;
        let inner = Arc::clone(&self.inner);
        to_its_end(async move { inner.create(config).await }).await
    }

    /// Starts a created or exited container; answers when its program runs.
    ///
    /// # Errors
    /// When it runs already, a port of it is in use, or its program cannot be
    /// run. It then stays as it was (or is removed, with `auto_remove`).
    pub async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.start_traced(container, None).await.map(drop)
    }

    /// As [`Engine::start`], on behalf of this W3C trace context; answers with
    /// the steps and what each took, as [`Container::start_timings`] does.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn start_traced(
        &self,
        container: &str,
        traceparent: Option<String>,
    ) -> Result<Vec<(String, u64)>, EngineError> {
        self.inner.check_open()?;
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        to_its_end(async move { inner.start(&entry, traceparent).await }).await
    }

    /// Ends a running container: its stop signal, then after `grace` (or its
    /// own, or 10 s) SIGKILL. Of one that has exited, answers how.
    ///
    /// # Errors
    /// When it was never started.
    pub async fn stop(&self, container: &str, grace: Option<Duration>) -> Result<Exit, EngineError> {
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        to_its_end(async move { inner.stop(&entry, grace).await }).await
    }

    /// Ends a container that its health check finds unhealthy, as
    /// [`Engine::stop`] would, but as a failure: its restart policy brings it back.
    ///
    /// # Errors
    /// When it does not run, or the keeper cannot be reached.
    pub async fn end_unhealthy(&self, container: &str) -> Result<(), EngineError> {
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        to_its_end(async move { inner.unhealthy(&entry).await }).await
    }

    /// Sends a signal, by number, to the container's first process.
    ///
    /// # Errors
    /// When it does not run, or there is no such signal.
    pub async fn kill(&self, container: &str, signal: i32) -> Result<(), EngineError> {
        self.inner.kill(&self.inner.resolve(container)?, signal).await
    }

    /// Waits until it has exited; at once if it already has.
    ///
    /// # Errors
    /// When there is no such container, or it is removed without having run.
    pub async fn wait(&self, container: &str) -> Result<Exit, EngineError> {
        self.inner.wait(&self.inner.resolve(container)?).await
    }

    /// Removes a container; with `force` a running one too. When it answers,
    /// nothing of it is left on the host.
    ///
    /// # Errors
    /// When it runs and is not to be forced, or the host refuses; try again then.
    pub async fn remove(&self, container: &str, force: bool) -> Result<(), EngineError> {
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        to_its_end(async move { inner.remove(&entry, force).await }).await
    }

    /// One container, by id, name, task or unique prefix of the id.
    ///
    /// # Errors
    /// When none or several match.
    pub fn inspect(&self, container: &str) -> Result<Container, EngineError> {
        Ok(self.inner.resolve(container)?.container())
    }

    /// All containers, oldest first; not those that have ended and are just being removed.
    pub fn list(&self) -> Vec<Container> {
        let entries = self.inner.entries();
        let stays = |entry: &&Arc<Entry>| !entry.live().is_leaving();
        let mut all: Vec<Container> = entries.values().filter(stays).map(|entry| entry.container()).collect();
        all.sort_by(|one, other| (one.created_at_ms, &one.id).cmp(&(other.created_at_ms, &other.id)));
        all
    }

    /// A container's output from now on, and its input. On a created one they
    /// begin with its start, so that nothing is missed.
    ///
    /// # Errors
    /// When it has exited.
    pub async fn attach(&self, container: &str) -> Result<Attachment, EngineError> {
        self.inner.attach(&self.inner.resolve(container)?, false).await
    }

    /// Sets the size of a container's terminal; before the start, its first size.
    ///
    /// # Errors
    /// When it has none or has exited.
    pub async fn resize(&self, container: &str, size: WindowSize) -> Result<(), EngineError> {
        self.inner.resize(&self.inner.resolve(container)?, size).await
    }

    /// What a running container uses at this moment.
    ///
    /// # Errors
    /// When it does not run, or the kernel does not say.
    pub async fn usage(&self, container: &str) -> Result<Usage, EngineError> {
        self.inner.usage(&self.inner.resolve(container)?).await
    }

    /// As [`Engine::usage`], without waiting for a container that is just ending.
    ///
    /// # Errors
    /// As [`Engine::usage`].
    pub async fn usage_now(&self, container: &str) -> Result<Usage, EngineError> {
        self.inner.usage_now(&self.inner.resolve(container)?).await
    }

    /// A container's log, across rotated files.
    ///
    /// # Errors
    /// When there is no such container, or it keeps none. A log that cannot be read ends the stream.
    pub fn logs(
        &self,
        container: &str,
        options: LogOptions,
    ) -> Result<impl Stream<Item = LogEntry> + Send + 'static + use<>, EngineError> {
        let entry = self.inner.resolve(container)?;
        crate::container::logs::stream(self.inner.config.container_dir(&entry.id), entry, options)
    }

    /// What its log options say of a container: labels, variables and tag, by key.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn log_attributes(&self, container: &str) -> Result<BTreeMap<String, String>, EngineError> {
        let entry = self.inner.resolve(container)?;
        let record = entry.live().record.clone();
        Ok(crate::container::logging::policy(&record)?.attributes)
    }

    /// The file that holds the newest of a container's log; `None` when it keeps none.
    pub fn log_path(&self, container: &Container) -> Option<std::path::PathBuf> {
        let layout = crate::container::logging::layout(&container.config)?;
        Some(self.inner.config.container_dir(&container.id).join(layout.file(&container.id, 0)))
    }

    /// The name of the container outside of services that runs and publishes
    /// this port of the host, if one does.
    pub fn port_holder(&self, port: &crate::PortMapping) -> Option<String> {
        self.inner.plain_holder(port, None)
    }

    /// What happens to containers from now on.
    pub fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.inner.events.subscribe()
    }

    /// Says which ports of the host belong to services, all of them, replacing
    /// what was said before; running plain containers' own are added to them.
    /// Answers those that another process or a plain container has; the others
    /// are served.
    ///
    /// # Errors
    /// When the kernel refuses; everything is as it was then.
    pub async fn publish_service_ports(
        &self,
        ports: Vec<PublishedPort>,
    ) -> Result<Vec<NetworkError>, EngineError> {
        *self.inner.services() = ports;
        self.inner.publish().await
    }

    /// Leaves after a failure: ends the keeper if this engine started it and it
    /// holds no living container. Nobody would look after it.
    ///
    /// # Errors
    /// As [`Engine::shutdown`].
    pub async fn abandon(&self) -> Result<(), EngineError> {
        self.inner.closing.store(true, Ordering::Relaxed);
        self.inner.keeper.end_if_useless().await;
        self.shutdown(false).await
    }

    /// Leaves. Containers and keeper go on; with `stop_containers` every
    /// container is stopped first, and keeper and network end too.
    ///
    /// # Errors
    /// What could not be ended.
    pub async fn shutdown(&self, stop_containers: bool) -> Result<(), EngineError> {
        self.inner.closing.store(true, Ordering::Relaxed);
        self.inner.network.close_pool().await;
        let ended = if stop_containers { self.inner.end_everything().await } else { Ok(()) };
        if let Err(error) = self.inner.network.settle().await {
            tracing::warn!(%error, "networks of containers that ended stay; the next start sweeps them");
        }
        self.inner.keeper.leave();
        self.inner.records.close().await;
        ended
    }
}

/// Runs the work as a task of its own, so that a caller that goes away does not leave it half done.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
) -> Result<T, EngineError> {
    tokio::spawn(work).await.map_err(|_| EngineError::Closed)?
}
