//! The Docker Engine API over this host's engine, for Docker's own clients.
//!
//! What runs here: an HTTP server on a unix socket, opened by the agent. Each
//! file is one resource of the API: paths in, engine calls, Docker's JSON out.
//!
//! Answered today: `_ping`, `version`, `info`, the list and inspection of
//! containers, the list of images, pulling and pushing them, logins. The rest of Docker's calls are refused as not
//! supported, by name, and what Docker does not know either is a page that is not
//! found. Deliberately absent: anything of the cluster, and state of its own.
#![forbid(unsafe_code)]

mod container;
mod credentials;
mod error;
mod image;
mod query;
mod server;
mod system;
mod transfer;
mod version;

pub use server::serve;
