//! The container engine of one host: content, images, snapshots, networks and
//! containers, each layer using only those before it. It knows no cluster and
//! no wire format; the agent and the Docker-compatible socket are its callers.
//!
//! The processes themselves belong to the keeper, a separate process that this
//! crate starts or adopts; the engine may come and go without them noticing.
#![forbid(unsafe_code)]

mod attestor;
pub mod cdi;
mod config;
pub mod container;
pub mod content;
mod engine;
mod error;
mod events;
pub mod files;
pub mod host;
pub mod image;
mod keeper;
pub mod network;
pub mod records;
mod recovery;
pub mod snapshot;
pub mod volume;

pub use attestor::Attestations;
pub use config::{EngineConfig, ImageGc};
pub use container::attach::Attachment;
pub use container::exec::{ExecConfig, ExecInfo};
pub use container::isolation;
pub use container::logging::Logging;
pub use container::logs::{LogEntry, LogOptions};
pub use container::usage::{Traffic, Usage};
pub use container::{
    Container, ContainerConfig, ContainerEvent, ContainerEventKind, ContainerState, Limits, LogDriver,
    PortMapping, Process, Protocol, PruneFilter, Pruned, StopOptions, WindowSize,
};
pub use engine::{CommitOptions, CopySteps, DiskUsage, Engine, ImportOptions, VolumeInUse};
pub use error::EngineError;
pub use events::{Event, Events, Listening, Subject};
pub use files::helper_main;
pub use image::unpack_main;
pub use keeper::keeper_main;
pub use network::PublishedPort;
pub use recovery::Swept;

pub use agent_runtime::cgroup::{BlockIo, CgroupError, Layout as CgroupLayout};
pub use agent_runtime::keeper::Exit;
pub use agent_runtime::{oci, share_arenas};
