//! Opening and ending an engine, and following the keeper in between.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use agent_runtime::cgroup::{Favor, Layout};
use agent_runtime::keeper::client::Event;
use tokio::sync::{broadcast, mpsc};

use super::boot::{self, Boots};
use super::housekeeping;
use super::{EVENTS, Engine, Inner};
use crate::config::private_dir;
use crate::container::create::blocking;
use crate::container::exec::Execs;
use crate::container::record::{Entry, Record};
use crate::container::remove::end_cgroup;
use crate::container::{fleeting, identity};
use crate::content::LocalContent;
use crate::events::Events;
use crate::host::Host;
use crate::image::{Images, RegistryOptions};
use crate::keeper::Keeper;
use crate::network::{Network, NetworkConfig, PoolConfig};
use crate::records::Records;
use crate::recovery::Lost;
use crate::snapshot::Snapshots;
use crate::volume::Volumes;
use crate::{EngineConfig, EngineError, Swept};

/// What is left of a keeper that was killed is gone within this time.
const KEEPER_GONE: Duration = Duration::from_secs(5);

/// Between two tries to have a keeper again.
const KEEPER_RETRY: Duration = Duration::from_millis(500);

impl Engine {
    /// Opens the engine: adopts a living keeper or starts one, learns what
    /// happened to its containers meanwhile, and sweeps what belongs to none.
    ///
    /// # Errors
    /// When a directory, the records, the network or the keeper cannot be had.
    pub async fn open(config: EngineConfig) -> Result<Engine, EngineError> {
        let data_dir = config.data_dir.clone();
        let config = config.absolute().map_err(|error| EngineError::file("find", data_dir, error))?;
        for dir in [&config.data_dir, &config.run_dir, &config.containers_dir()] {
            private_dir(dir).map_err(|error| EngineError::file("create", dir, error))?;
        }
        if config.favor_dynmods {
            favor_dynmods();
        }
        let records = Records::open(config.data_dir.join("records")).await?;
        let table = records.table("containers");
        let mut known: Vec<(String, Record)> = table.scan().await?;
        let ids = known.iter().map(|(id, _)| id.as_str()).collect();
        let unknown = fleeting::unknown(&config.containers_dir(), &ids);
        known.extend(unknown.into_iter().map(|record| (record.id.clone(), record)));
        let snapshots = Snapshots::open(config.data_dir.join("snapshots"))?;
        let told = Events::default();
        let volumes =
            Volumes::open(config.data_dir.join("volumes"), &records, config.first_project()).await?;
        let volumes = volumes.telling(told.clone());
        let content_dir = config.data_dir.join("content");
        let content = LocalContent::open(&content_dir)
            .map_err(|error| EngineError::file("open", content_dir, std::io::Error::other(error)))?;
        let registries =
            RegistryOptions { settings: config.registries.clone(), ..RegistryOptions::default() };
        let images = Images::open(content, snapshots.clone(), &records, registries).telling(told.clone());
        let images = images.unpacking_by(config.keeper_program.clone());
        let network = Network::open(NetworkConfig {
            bridge: config.bridge.clone(),
            subnet: config.subnet.parse()?,
            run_dir: config.run_dir.clone(),
            pool: PoolConfig { size: config.network_pool, new_id: identity::new_id },
        });
        let network = network.await?;
        let data_dir = config.data_dir.clone();
        let host = blocking(move || Ok(Host::look(&data_dir))).await?;
        let entries: BTreeMap<_, _> =
            known.into_iter().map(|(id, record)| (id, Arc::new(Entry::new(record)))).collect();
        let inner = Arc::new(Inner {
            keeper: Keeper::new(&config),
            attestor: Arc::default(),
            host,
            config,
            boots: Boots::new(&records),
            records,
            table,
            images,
            snapshots,
            volumes,
            network,
            entries: Mutex::new(entries),
            services: Mutex::default(),
            execs: Execs::default(),
            publishing: tokio::sync::Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
            told,
            closing: AtomicBool::new(false),
        });
        let swept = match inner.recover_all().await {
            Ok(swept) => swept,
            Err(error) => {
                inner.keeper.end_if_useless().await;
                return Err(error);
            }
        };
        Ok(Engine { inner, swept: Arc::new(swept) })
    }
}

/// Without it everything works, only later.
fn favor_dynmods() {
    match Layout::detect().and_then(|layout| layout.favor_dynmods()) {
        Ok(Favor::Set) => tracing::info!("cgroups may change often on this host now (favordynmods)"),
        Ok(Favor::NotNeeded | Favor::WasSet) => {}
        Ok(Favor::Unknown) => {
            tracing::info!("this kernel has no favordynmods (Linux 6.0): starts take longer");
        }
        Err(error) => tracing::warn!(%error, "starts take longer than they need"),
    }
}

impl Inner {
    async fn recover_all(self: &Arc<Self>) -> Result<Swept, EngineError> {
        let mut events = self.first_keeper().await?;
        let held = match events.recv().await {
            Some(Event::Snapshot(held, execs)) => {
                self.execs.reconcile(execs);
                held
            }
            _ => return Err(EngineError::Keeper("it ended while the engine opened".to_owned())),
        };
        let lost = Lost::since(self.boots.last().await?.as_deref(), &boot::id());
        let mut swept = self.reconcile(held, lost, true).await;
        self.sweep(&mut swept).await?;
        for refused in self.publish().await? {
            tracing::warn!(error = %refused, "a port of a running container is not published");
        }
        self.resume().await?;
        tokio::spawn(housekeeping::keep(Arc::downgrade(self), self.images.garbage(), self.config.image_gc));
        self.boots.remember(&boot::id()).await?;
        tokio::spawn(follow(Arc::downgrade(self), events));
        tokio::spawn(super::compress::compress_logs(Arc::downgrade(self)));
        Ok(swept)
    }

    /// A keeper that was killed while it made a container is survived, for a moment, by the process that it had just
    /// cloned, which has copies of its socket and of its lock: whoever connects then is hung up on, and no other keeper
    /// can start.
    async fn first_keeper(&self) -> Result<mpsc::Receiver<Event>, EngineError> {
        let since = Instant::now();
        loop {
            match self.keeper.adopt_or_start().await {
                Err(error @ EngineError::Keeper(_)) if since.elapsed() < KEEPER_GONE => {
                    tracing::warn!(%error, "no keeper yet");
                    tokio::time::sleep(KEEPER_RETRY).await;
                }
                done => return done,
            }
        }
    }

    /// Stops every container, then ends what served them.
    pub(super) async fn end_everything(self: &Arc<Self>) -> Result<(), EngineError> {
        let entries: Vec<Arc<Entry>> = self.entries().values().cloned().collect();
        let stops = entries.iter().map(|entry| async {
            if entry.state().is_alive() {
                entry.change(|live| {
                    live.record.error = Some("it was stopped with its engine".to_owned());
                    live.record.taken_down = true;
                });
                // Not as if by hand: what its policy keeps running comes back with the engine.
                if let Err(error) = self.end(entry, None).await {
                    tracing::warn!(container = entry.id, %error, "a container is not stopped; it ends with the keeper");
                }
            }
            // What is done after its end is done when the lock is free.
            drop(entry.work.lock().await);
        });
        futures::future::join_all(stops).await;
        self.keeper.end().await?;
        self.network.remove_all().await?;
        let (own, all) = (self.config.cgroup(""), "/roadstead".to_owned());
        let removed = crate::container::create::blocking(move || {
            end_cgroup(own.trim_end_matches('/'))?;
            // Another engine's containers may live beside ours.
            if let Ok(cgroup) = agent_runtime::cgroup::Cgroup::open(&all) {
                cgroup.remove_if_empty();
            }
            Ok(())
        });
        removed.await
    }
}

/// Follows the keeper for as long as the engine exists. A keeper that is lost
/// is replaced, and its containers, which nobody watches any more, are ended.
async fn follow(engine: Weak<Inner>, mut events: mpsc::Receiver<Event>) {
    loop {
        while let Some(event) = events.recv().await {
            let Some(inner) = engine.upgrade() else {
                return;
            };
            inner.handle(event).await;
        }
        let Some(inner) = engine.upgrade() else {
            return;
        };
        if inner.closing.load(Ordering::Relaxed) {
            return;
        }
        tracing::error!(pid = inner.keeper.pid(), "the keeper is lost; another one is started");
        match inner.keeper.adopt_or_start().await {
            Ok(again) => events = again,
            Err(error) => {
                tracing::error!(%error, "no keeper");
                drop(inner);
                tokio::time::sleep(KEEPER_RETRY).await;
            }
        }
    }
}

impl Inner {
    async fn handle(self: &Arc<Self>, event: Event) {
        match event {
            Event::ExecExited { id, exit, .. } => self.exec_ended(&id, exit),
            Event::Snapshot(held, execs) => {
                self.execs.reconcile(execs);
                self.reconcile(held, Lost::Keeper, false).await;
            }
            Event::Exited { id, exit } => {
                let entry = self.entries().get(&id).cloned();
                if let Some(entry) = entry {
                    let inner = Arc::clone(self);
                    // It waits for the container's lock; other containers' ends do not wait for it.
                    tokio::spawn(async move { inner.ended(&entry, exit).await });
                }
            }
        }
    }
}
