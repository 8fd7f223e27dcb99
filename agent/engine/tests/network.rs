//! The network layer on the real kernel. Every test runs on a thread of its own in a fresh network namespace, which
//! plays the host; nothing of it survives the thread. Needs root and the `nft` program (to look, never to change).

#[path = "network_lab/adopt.rs"]
mod adopt;
#[path = "network_lab/attach.rs"]
mod attach;
#[path = "network_lab/lab.rs"]
mod lab;
#[path = "network_lab/pool.rs"]
mod pool;
#[path = "network_lab/publish.rs"]
mod publish;
#[path = "network_lab/wire.rs"]
mod wire;
