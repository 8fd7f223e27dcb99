//! The container runtime: an OCI specification becomes a plan, the plan becomes system calls.
//!
//! What runs in which process:
//!
//! | process | runs | knows |
//! |---|---|---|
//! | the agent | [`keeper::client`], [`defaults`], [`attest`] | containers as plain data ([`container`]) |
//! | the keeper, one per host, one thread | [`keeper`], [`process::create`], the host steps of a [`plan`] | every container's streams, exit and [`cgroup`] |
//! | a container's first process, until it executes its program | the init steps of its plan | nothing but its plan |
//!
//! The rule that holds it together: the keeper has one thread, because its children are copies of it made by
//! `clone3` that go on in Rust. So everything here is synchronous, and nothing starts a thread.
//!
//! `unsafe` is allowed under `sys` and `process` only. A root filesystem is only handled as a descriptor
//! (`rootfs`). The planner refuses what cannot be done, before anything has been touched.

pub mod attest;
pub mod capabilities;
pub mod cgroup;
pub mod container;
pub mod defaults;
pub mod detached;
mod execute;
pub mod keeper;
pub mod log;
pub mod oci;
pub mod plan;
pub mod process;
pub mod quota;
mod rootfs;
pub mod sandbox;
pub mod seccomp;
mod sys;

pub use sys::memory::share_arenas;
