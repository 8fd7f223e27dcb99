//! A container as the engine's callers see it: what is asked for
//! ([`ContainerConfig`]), what is ([`Container`]) and what happens to it
//! ([`ContainerEvent`]). The folder holds the verbs; this file is plain data.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) mod admit;
pub(crate) mod again;
pub mod attach;
pub(crate) mod commit;
pub(crate) mod create;
mod device_names;
pub(crate) mod event;
pub mod exec;
pub(crate) mod files;
pub(crate) mod fleeting;
pub mod health;
pub(crate) mod identity;
pub mod isolation;
pub(crate) mod lifecycle;
pub mod logging;
pub mod logs;
pub mod mount;
mod mounting;
mod pause;
pub(crate) mod plug;
pub(crate) mod ports;
pub(crate) mod probe;
pub(crate) mod prune;
pub(crate) mod record;
pub(crate) mod remove;
mod rename;
pub mod restart;
pub(crate) mod sharing;
pub mod signal;
mod source;
pub(crate) mod spec;
mod top;
mod update;
pub mod usage;
pub(crate) mod user;

pub use self::again::StopOptions;
pub use self::event::{ContainerEvent, ContainerEventKind};
pub use self::prune::{PruneFilter, Pruned};
pub use self::top::Process;
pub use self::update::Update;
pub use crate::network::Protocol;
pub use agent_runtime::container::{LogDriver, WindowSize};

/// The smallest memory limit a container can start with, in bytes.
pub const MEMORY_MINIMUM: u64 = 6 * 1024 * 1024;

/// What a caller asks for. `Default` with an image is enough to run it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// Unique on this engine; made from the id when `None`.
    pub name: Option<String>,
    /// Image reference; the image must be on this host already.
    pub image: String,
    /// Replaces the image's entrypoint, and drops its command, when not empty.
    pub entrypoint: Vec<String>,
    /// Replaces the image's command when not empty.
    pub command: Vec<String>,
    /// `NAME=value`, over the image's.
    pub env: Vec<String>,
    /// `user[:group]`, names or numbers; empty: the image's.
    pub user: String,
    /// Absolute path in the container; empty: the image's.
    pub working_dir: String,
    /// Empty: the first 12 digits of the id.
    pub hostname: String,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// Limits on resources.
    pub limits: Limits,
    /// What is mounted into it; once it is made, in the order of mounting and with what the image and other
    /// containers add.
    pub mounts: Vec<mount::Mount>,
    /// Containers whose volumes and binds it has too: `CONTAINER[:ro]`.
    pub volumes_from: Vec<String>,
    /// Takes write access from its root file system.
    pub read_only_root: bool,
    /// Its anonymous volumes go with it. Set by the engine.
    pub remove_volumes: bool,
    /// How long [`crate::Engine::stop`] waits between SIGTERM and SIGKILL when
    /// its caller does not say.
    pub stop_grace: Option<Duration>,
    /// Give it a terminal; standard output and error are then one stream.
    pub terminal: bool,
    /// Keep standard input open for [`crate::Engine::attach`].
    pub open_stdin: bool,
    /// First size of the terminal.
    pub window: Option<WindowSize>,
    /// Remove it as soon as it has exited, or when it cannot be started.
    pub auto_remove: bool,
    /// The caller starts it at once and does not care for it before: with `auto_remove` its making does not wait for
    /// the disk then, and a power cut before its end leaves nothing of it. A crash of the agent does.
    #[serde(default)]
    pub start_follows: bool,
    /// Whether it is started again when it has ended.
    pub restart: restart::RestartPolicy,
    /// Ports of the host that lead to it.
    pub ports: Vec<PortMapping>,
    /// The task it belongs to; such a container's ports are its owner's business
    /// ([`crate::Engine::publish_service_ports`]).
    pub task: Option<String>,
    /// W3C trace context of the request that led here.
    pub traceparent: Option<String>,
    /// What is kept of its output; three compact files of 10 MiB when `None`.
    pub log: Option<logging::Logging>,
    /// How its health is checked.
    pub health: Option<health::Healthcheck>,
    /// How it is confined, and what it gets of the host.
    pub isolation: Box<isolation::Isolation>,
}

/// Limits on what a container may use; `None` is no limit, but for pids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Billionths of one CPU.
    pub nano_cpus: Option<u64>,
    /// Bytes; at least [`MEMORY_MINIMUM`].
    pub memory_bytes: Option<u64>,
    /// Processes and threads; 1024 when `None`.
    pub pids: Option<u64>,
}

/// One port of the host that leads into a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port on the host.
    pub published: u16,
    /// The port in the container.
    pub target: u16,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its first process lives.
    Running,
    /// It lives and stands still.
    Paused,
    /// Its first process has ended, and it is about to be started again.
    Restarting,
    /// Its first process has ended.
    Exited,
}

impl ContainerState {
    /// Whether its first process lives, be it that it stands still.
    pub fn is_alive(self) -> bool {
        matches!(self, ContainerState::Running | ContainerState::Paused)
    }

    /// Whether its first process has ended, be it for good or not.
    pub fn has_ended(self) -> bool {
        matches!(self, ContainerState::Exited | ContainerState::Restarting)
    }
}

impl std::fmt::Display for ContainerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ContainerState::Created => "created",
            ContainerState::Running => "running",
            ContainerState::Paused => "paused",
            ContainerState::Restarting => "restarting",
            ContainerState::Exited => "exited",
        })
    }
}

/// A container as it is now.
#[derive(Debug, Clone)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique on this engine.
    pub name: String,
    /// What was asked for.
    pub config: ContainerConfig,
    /// Digest of the image's manifest.
    pub image_digest: String,
    /// Entrypoint and command after merging with the image's.
    pub command: Vec<String>,
    /// Environment after merging with the image's.
    pub env: Vec<String>,
    /// Where its program starts.
    pub working_dir: String,
    /// What it calls itself.
    pub hostname: String,
    /// Where it is in its life.
    pub state: ContainerState,
    /// Its first process, in the host's numbering, while it runs.
    pub pid: Option<i32>,
    /// How it ended, once it has.
    pub exit: Option<agent_runtime::keeper::Exit>,
    /// How often its policy has started it since it was started by hand.
    pub restart_count: u32,
    /// When its policy starts it again, in milliseconds since 1970.
    pub restart_at_ms: Option<u64>,
    /// Why the last start failed, or its end was not its own.
    pub error: Option<String>,
    /// It did not end by itself: its engine was ended with all containers, or the host was restarted.
    pub taken_down: bool,
    /// What its checks say of it, if it has any and runs.
    pub health: Option<health::Health>,
    /// Its address while it runs.
    pub address: Option<Ipv4Addr>,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// Milliseconds since 1970.
    pub started_at_ms: Option<u64>,
    /// Steps of the last start and what each took, in microseconds: enough for
    /// the caller to make spans of.
    pub start_timings: Vec<(String, u64)>,
}
