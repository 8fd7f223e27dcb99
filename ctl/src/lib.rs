//! What runs here: one command of `ctl`, from its arguments to its exit code.
//!
//! - [`cli`] is the grammar; [`cmd`] has one file per command: its arguments,
//!   its help text and the function that performs it.
//! - [`client`] opens gRPC channels; [`context`] knows to whom.
//! - [`output`] owns the terminal: data goes to stdout, all else to stderr.
//! - [`error`] turns every failure into a message, hints and an exit code.
//!
//! Deliberately absent: any decision of the cluster. `ctl` validates nothing
//! that the controller validates, and keeps no state but its contexts.
#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod cmd;
pub mod context;
pub mod error;
pub mod output;
pub mod telemetry;
pub mod terminal;

use std::process::ExitCode;

use clap::Parser;
use tracing::Instrument;

/// Runs the command line of this process and returns its exit code.
pub fn run() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::fail(&error::CommandError::internal(format!("cannot start: {error}")));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let telemetry = telemetry::start();
        let span = tracing::info_span!("ctl", command = cli.command.name());
        let outcome = cmd::run(cli).instrument(span).await;
        telemetry.finish();
        outcome
    });
    // A read of standard input may still be blocked in a thread; nothing waits for it.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::fail(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}
