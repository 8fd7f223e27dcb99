//! The controller: a Raft voter and the gRPC API of the cluster.
//!
//! The brain is `controller_core`, a pure function; everything in this crate is
//! plumbing around it. What runs here:
//!
//! * one OS thread named `raft` ([`consensus`]) that owns the log, applies
//!   committed commands to the state and publishes it in the [`store`];
//! * one task ([`leader`]) that feeds the reconcilers and performs what they
//!   decide, and only while this controller leads;
//! * the gRPC server ([`server`]) with the people's interface ([`api`]), the
//!   agents' ([`dispatch`]) and the issue of certificates ([`ca`]).
//!
//! Deliberately absent: containers, images, networks (the agent's business), and
//! any decision about them (the core's).
#![forbid(unsafe_code)]

pub mod api;
pub mod ca;
pub mod config;
pub mod consensus;
pub mod convert;
pub mod data_dir;
pub mod dispatch;
pub mod error;
pub mod identity;
pub mod leader;
pub mod node_client;
pub mod server;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod tls;
