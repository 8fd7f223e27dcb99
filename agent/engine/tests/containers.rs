//! The engine on the real kernel: containers from an image made here, a keeper
//! as a process of its own, in a network namespace that plays the host. Every
//! test ends with a look at the host: nothing may be left. Needs root, `ip` and `nft`.

#[path = "containers/attach.rs"]
mod attach;
#[path = "containers/control.rs"]
mod control;
#[path = "containers/host.rs"]
mod host;
#[path = "containers/life.rs"]
mod life;
#[path = "containers/mounts.rs"]
mod mounts;
#[path = "containers/recovery.rs"]
mod recovery;
#[path = "containers/refusal.rs"]
mod refusal;
#[path = "containers/restart.rs"]
mod restart;
