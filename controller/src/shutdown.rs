//! When to stop, as a value: a future that main makes and passes on.
//!
//! SIGINT and SIGTERM stop the controller gracefully. With `--exit-with-stdin`
//! so does the end of standard input, which is how a parent that may die at any
//! moment makes sure that nothing outlives it.

use std::fmt;
use std::io;

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// Why the controller stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// SIGINT: somebody pressed Ctrl-C.
    Interrupt,
    /// SIGTERM: a service manager.
    Terminate,
    /// Standard input ended: the parent is gone.
    StdinClosed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "interrupted",
            Self::Terminate => "terminated",
            Self::StdinClosed => "standard input was closed",
        })
    }
}

/// Takes over the signals at once and returns the future that resolves with the first reason to stop.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn listen(exit_with_stdin: bool) -> io::Result<impl Future<Output = Reason> + Send> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => Reason::Interrupt,
            _ = terminate.recv() => Reason::Terminate,
            () = stdin_end(), if exit_with_stdin => Reason::StdinClosed,
        }
    })
}

/// Reads standard input to its end and throws it away.
///
/// The read happens on a blocking thread that cannot be cancelled: main must end the runtime with a
/// time limit, not by waiting for it.
async fn stdin_end() {
    let mut input = tokio::io::stdin();
    let mut buffer = [0_u8; 256];
    while !matches!(input.read(&mut buffer).await, Ok(0) | Err(_)) {}
}
