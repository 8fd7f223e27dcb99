//! The composition root: makes every part, in the order in which they need each
//! other, runs them until the agent is told to end, and ends them in reverse.
//!
//! ```text
//! controller <-> session <-> supervisor -> containers (World) -> Engine
//!                    reports <-+    ^--- engine events      ^
//! unix socket, TLS -> api ----------------------------------+
//! docker socket -> agent_docker ----------------------------+
//! ```

use std::sync::Arc;

use agent_engine::image::SettingsError;
use agent_engine::{Engine, EngineConfig, EngineError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::Api;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::error::describe;
use crate::hello::{self, HelloError};
use crate::identity::store::{Store, StoreError};
use crate::identity::{Identity, JoinError};
use crate::preflight::{self, Obstacle};
use crate::publish::Publisher;
use crate::report::Reports;
use crate::server::{self, ServerError};
use crate::session::{Link, Node, host};
use crate::shutdown::Shutdown;
use crate::task::container::Containers;
use crate::task::fetch::Fetcher;
use crate::task::supervisor::{self, Handle};

/// Why the agent ended, other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The host is not fit.
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// The node's identity is unreadable or cannot be kept.
    #[error(transparent)]
    Identity(#[from] StoreError),
    /// `--join` without `--token`, before the node has joined.
    #[error("this node is in no cluster yet: --join needs --token; get one with `ctl cluster token`")]
    NoToken,
    /// The cluster does not want this node, or is not the token's.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The engine cannot run.
    #[error("{}", describe(.0))]
    Engine(#[from] EngineError),
    /// The file of registries.
    #[error(transparent)]
    Registries(#[from] SettingsError),
    /// The embedded image.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The Node API.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Something the operating system refused.
    #[error("{0}: {1}")]
    System(&'static str, #[source] std::io::Error),
}

impl Failure {
    /// The process's exit code; see `main.rs` for the list.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Obstacle(obstacle) => obstacle.exit_code(),
            Self::Identity(_) => 16,
            Self::NoToken | Self::Registries(_) => 2,
            Self::Join(_) => 17,
            Self::Engine(_) | Self::Hello(_) => 18,
            Self::Server(_) => 19,
            Self::System(..) => 1,
        }
    }
}

/// Runs the agent until it is told to end.
///
/// # Errors
/// What kept it from running.
pub async fn run(config: Config) -> Result<(), Failure> {
    let store = Store::new(&config.data_dir);
    let in_cluster = config.join.is_some() || store.exists();
    let held = preflight::check(&config, in_cluster)?;
    let identity = known_identity(&config, &store)?;
    // Before a keeper runs, which nobody would expect of an agent that could not start.
    server::make_way(&config.docker_socket())?;
    let shutdown = Shutdown::new(config.stop_containers_on_exit);
    shutdown.on_signals().map_err(|error| Failure::System("cannot handle signals", error))?;
    if config.exit_with_stdin {
        shutdown.on_end_of_input();
    }
    let engine = Engine::open(engine_config(&config, in_cluster)?).await?;
    for lack in engine.host().lacks() {
        info!("this host has no {}: {}", lack.name, lack.detail);
    }
    for orphan in &engine.swept().removed {
        warn!("removed what belonged to no container: {orphan}");
    }
    let served = serve(&config, &engine, store, identity, held, &shutdown).await;
    let stopping = shutdown.stop_containers() && served.is_ok();
    if served.is_err() {
        engine.abandon().await?;
    } else {
        engine.shutdown(stopping).await?;
    }
    info!("ended{}", if stopping { ", with all containers" } else { "; containers go on" });
    served
}

fn engine_config(config: &Config, in_cluster: bool) -> Result<EngineConfig, Failure> {
    let keeper_program =
        std::env::current_exe().map_err(|error| Failure::System("cannot find this program's file", error))?;
    Ok(EngineConfig {
        data_dir: config.data_dir.clone(),
        run_dir: config.run_dir.clone(),
        bridge: config.bridge.clone(),
        subnet: config.subnet.clone(),
        keeper_program,
        cdi_dirs: config.cdi_dirs(),
        registries: config.registry_settings()?,
        favor_dynmods: !config.no_favor_dynmods,
        network_pool: usize::from(config.network_pool),
        image_gc: config.image_gc(in_cluster),
    })
}

/// Who this node is already; a flag may say that its controller has moved.
fn known_identity(config: &Config, store: &Store) -> Result<Option<Identity>, Failure> {
    let Some(mut identity) = store.load()? else {
        let complete = config.join.is_none() || config.token.is_some();
        return if complete { Ok(None) } else { Err(Failure::NoToken) };
    };
    if let Some(controller) = config.join.as_ref().filter(|address| **address != identity.controller) {
        identity.controller.clone_from(controller);
        store.save(&identity)?;
    }
    Ok(Some(identity))
}

/// Everything between the engine's opening and its end.
async fn serve(
    config: &Config,
    engine: &Engine,
    store: Store,
    identity: Option<Identity>,
    held: preflight::Held,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    hello::import(engine).await?;
    let stop = shutdown.token();
    let name = config.name.clone().unwrap_or_else(host::name);
    let (link, link_seen) = watch::channel(Link { node_name: name.clone(), ..Link::default() });
    let fetcher = Fetcher::new(engine.clone());
    let publisher = Publisher::new(engine.clone());
    let world = Containers::new(engine.clone(), fetcher.clone(), publisher.clone(), link_seen.clone());
    if let Err(error) = publisher.refresh().await {
        warn!(error = describe(&error), "published ports of adopted containers are not up to date");
    }
    let reports = Reports::default();
    let tasks = supervisor::start(Arc::new(world), reports.clone(), stop.clone());
    let mut parts = JoinSet::new();
    parts.spawn(done(publisher.follow(stop.clone())));
    parts.spawn(done(follow_events(engine.clone(), tasks.clone(), stop.clone())));
    let api = Api { engine: engine.clone(), fetcher, link: link_seen, shutdown: shutdown.clone() };
    let (socket, docker_socket) = (config.agent_socket(), config.docker_socket());
    let listener = server::bind_unix(&socket)?;
    let docker = server::bind_unix(&docker_socket)?;
    parts.spawn(done(agent_docker::serve(docker, engine.clone(), stop.clone().cancelled_owned())));
    let unix_stop = stop.clone();
    let services = server::services(&api);
    parts.spawn(async move { Ok(server::serve_unix(listener, services, unix_stop).await?) });
    info!(socket = %socket.display(), docker_socket = %docker_socket.display(), version = env!("CARGO_PKG_VERSION"), "ready");
    let node = Node { name, address: advertised(config), labels: config.labels() };
    let cluster =
        Cluster { config: config.clone(), store, node, tasks, reports, link, api, stop: stop.clone() };
    parts.spawn(cluster.run(identity, held.listener));
    let result = until_stopped(&mut parts, &stop).await;
    stop.cancel();
    // An attached terminal or a followed log may keep a connection open for ever.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), async {
        while parts.join_next().await.is_some() {}
    })
    .await;
    for socket in [socket, docker_socket] {
        let _ = std::fs::remove_file(socket);
    }
    result
}

async fn done(part: impl Future<Output = ()>) -> Result<(), Failure> {
    part.await;
    Ok(())
}

/// Until the agent is told to end, or a part fails.
async fn until_stopped(
    parts: &mut JoinSet<Result<(), Failure>>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(ended) = parts.join_next() => match ended {
                Ok(result) => result?,
                Err(error) => return Err(Failure::System("a part of the agent broke", error.into())),
            },
        }
    }
}

/// `--advertise`, or `--listen`; without its host when that is "any address".
fn advertised(config: &Config) -> String {
    match &config.advertise {
        Some(address) => address.clone(),
        None if config.listen.ip().is_unspecified() => format!(":{}", config.listen.port()),
        None => config.listen.to_string(),
    }
}

/// Tells the supervisor what happens to containers of tasks.
async fn follow_events(engine: Engine, tasks: Handle, stop: CancellationToken) {
    let mut events = engine.events();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = stop.cancelled() => return,
        };
        match event {
            Ok(event) => {
                if let Some(task) = event.task {
                    tasks.touch(task).await;
                }
            }
            // Some were missed, so any may have changed.
            Err(RecvError::Lagged(_)) => {
                for task in engine.list().into_iter().filter_map(|container| container.config.task) {
                    tasks.touch(task).await;
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}
