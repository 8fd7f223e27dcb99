//! `create` and `kill`.

use std::process::ExitCode;

use agent_engine::oci::{Console, Create, OciError, Runtime, sealed_again, signal_number};

use super::cli::Making;

pub(super) fn create(runtime: &Runtime, arguments: &Making) -> Result<ExitCode, OciError> {
    seal()?;
    let console = arguments.console_socket.as_deref().map_or(Console::None, Console::Socket);
    runtime.create(&asked(arguments, console)?)?;
    Ok(ExitCode::SUCCESS)
}

/// What the arguments say.
pub(super) fn asked<'a>(arguments: &'a Making, console: Console<'a>) -> Result<Create<'a>, OciError> {
    if arguments.no_pivot {
        let text = "--no-pivot is not supported: without pivot_root the host's files stay within reach";
        return Err(OciError::Usage(text.to_owned()));
    }
    Ok(Create {
        id: &arguments.id,
        bundle: &arguments.bundle,
        pid_file: arguments.pid_file.as_deref(),
        console,
        preserve: arguments.preserve_fds,
    })
}

/// Goes on from a mount that no container can write through.
pub(super) fn seal() -> Result<(), OciError> {
    sealed_again()
        .map_err(|source| OciError::Io { action: "execute a read-only copy of itself".to_owned(), source })
}

pub(super) fn kill(runtime: &Runtime, id: &str, signal: &str, all: bool) -> Result<ExitCode, OciError> {
    let number = signal_number(signal)
        .ok_or_else(|| OciError::Usage(format!("{signal:?} is not the name or number of a signal")))?;
    runtime.kill(id, number, all)?;
    Ok(ExitCode::SUCCESS)
}
