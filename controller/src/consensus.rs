//! Agreement on one log of commands, and that log on disk.
//!
//! Parts, each in a file of its own: the [`Consensus`] driver (raft without IO),
//! the [`LogStore`] contract with a log in memory and one on disk, raft's view of
//! it, and the `raft` thread that performs what the driver says ([`start`]).
//!
//! What holds, and where it is tested:
//!
//! * what was acknowledged survives `kill -9` and a power cut: entries and hard
//!   state are synced before a reply or a dependent message leaves;
//! * one sync per batch, however many proposals it holds; an idle log writes
//!   nothing;
//! * damage in the log is reported, never cut off; a torn last write is normal;
//! * the state is a function of the log: a restart rebuilds it from the newest
//!   snapshot and the entries after it.
//!
//! Only this folder knows raft, its protobuf and its logger. Deliberately absent
//! for now: a transport to peers, changes of membership, ReadIndex.

pub use self::command::{DecodeError, EncodeError, decode_command, encode_command};
pub use self::driver::Consensus;
pub use self::engine_log::EngineLog;
pub use self::log_store::{Batch, Contents, LogError, LogStore, Snapshot};
pub use self::memory_log::MemoryLog;
pub use self::settings::{OpenError, RaftSettings};
pub use self::snapshot::{SnapshotError, SnapshotPolicy};
pub use self::step::{Persist, Proposal, RaftInput, RaftOutput, Standing};
pub use self::task::{RaftError, RaftThread, start};

mod codec;
mod command;
mod driver;
mod engine_log;
mod log_bridge;
mod log_store;
mod memory_log;
mod settings;
mod snapshot;
mod step;
mod storage;
mod task;
