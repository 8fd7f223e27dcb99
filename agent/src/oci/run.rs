//! `run`: make, start, wait, remove.

use std::process::ExitCode;

use agent_engine::oci::{Console, Created, OciError, Runtime, relay, wait_for};

use super::cli::Running;
use super::lifecycle::{asked, seal};
use super::log::Log;

pub(super) fn run(runtime: &Runtime, arguments: &Running, log: &Log<'_>) -> Result<ExitCode, OciError> {
    seal()?;
    let making = &arguments.making;
    let console = match (&making.console_socket, arguments.detach) {
        (Some(socket), _) => Console::Socket(socket),
        (None, true) => Console::None,
        (None, false) => Console::Caller,
    };
    let created = runtime.create(&asked(making, console)?)?;
    let result = runtime.start(&making.id).and_then(|()| {
        if arguments.detach {
            return Ok(0);
        }
        finish(&created)
    });
    if arguments.detach && result.is_ok() {
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.keep || result.is_err() {
        for complaint in runtime.delete(&making.id, true)? {
            log.warning(&complaint);
        }
    }
    result.map(ExitCode::from)
}

/// Passes the terminal on, if there is one, and answers the exit code.
pub(super) fn finish(created: &Created) -> Result<u8, OciError> {
    if let Some(master) = &created.master {
        let action = || "relay the terminal".to_owned();
        relay(master).map_err(|source| OciError::Io { action: action(), source })?;
    }
    wait_for(created)
}
