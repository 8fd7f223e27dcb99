//! The controller as its callers see it: a real server over TLS on loopback,
//! with the real leader loop, over a Raft log in memory.

mod access;
mod control;
mod dispatch;
mod forward;
mod identity;
mod logs;
mod node_api;
mod rig;
mod trace;
