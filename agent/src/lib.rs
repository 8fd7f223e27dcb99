//! The agent: the daemon on every host. It runs containers through
//! `agent_engine`, alone or as a node of a cluster.
//!
//! | module | what it owns |
//! |---|---|
//! | [`config`], [`preflight`] | the command line; whether this host is fit |
//! | [`daemon`], [`shutdown`] | making all parts, and ending them |
//! | [`cluster`] | what an agent does only as a node of a cluster |
//! | [`identity`], [`tls`] | the node's certificate; connections to controllers |
//! | [`session`], [`assignment`], [`report`] | what the controller wants, what it is told |
//! | [`task`] | the task machine, its supervisor, and tasks as containers |
//! | [`publish`], [`convert`], [`clock`] | published ports; wire and engine words; the time |
//! | [`api`], [`server`], [`error`] | the Node API, where it is served, its errors |
//! | [`hello`] | the embedded image |
//! | [`telemetry`] | logs and traces |
//! | [`oci`] | the command line of an OCI runtime, another program but for its file |
#![forbid(unsafe_code)]

pub mod api;
pub mod assignment;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod convert;
pub mod daemon;
pub mod error;
pub mod hello;
pub mod identity;
pub mod oci;
pub mod preflight;
pub mod publish;
pub mod report;
pub mod server;
pub mod session;
pub mod shutdown;
pub mod task;
pub mod telemetry;
pub mod tls;
