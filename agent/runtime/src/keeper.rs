//! The keeper: one small process per host that forks the containers and owns
//! them. It holds their terminals and pipes, writes their logs, reaps them and
//! records how they ended, so the agent that started it may crash or be
//! upgraded and no container notices.
//!
//! One thread and one epoll loop (`server`); every duty has its file: `wire`
//! (messages and descriptors), `log`, `attach`, `stream` (a container's input
//! and output), `held` (one container), `execution` (a further process in one),
//! `exit`, `journal`, `mounts`.
//! Deliberately absent: policy. Images, networks and restarts are decided by the
//! engine, which talks to the keeper through [`client`].

use std::ffi::OsString;
use std::process::ExitCode;

pub mod client;
pub mod protocol;

mod attach;
mod execution;
mod exit;
mod held;
mod journal;
mod log;
mod mounts;
mod options;
mod output;
mod server;
mod start;
mod stream;
pub(crate) mod time;
mod wire;

pub use crate::log::MAX_PIECE;
pub use exit::{Exit, LastRun};
pub use protocol::{ContainerState, ContainerStatus, ExecStatus};

/// Runs the keeper until a client asks it to shut down. `arguments` are those
/// after the word `keeper`: `--socket PATH --data DIR [--keep-mount PATH]...`.
///
/// Must be called before the process has started any thread: the keeper moves
/// into a mount namespace of its own. Once it listens it writes `ready` to
/// standard output and lets go of the descriptors 0, 1 and 2; a failure before
/// that is one line on standard error and exit code 1.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let ready = start::seal().and_then(|()| Ok(options::parse(arguments)?));
    match ready.and_then(|options| start::run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            start::complain(&error);
            ExitCode::FAILURE
        }
    }
}
