//! The program `agent`: the daemon, with the first argument `keeper` the
//! process that owns the containers of this host, with `files` the one that
//! copies files of one container and ends, with `unpack` the one that unpacks a
//! layer and ends, with `oci` (or by the name
//! `agent-oci`) the command line of an OCI runtime.
//!
//! Exit codes of the daemon, each with one line on standard error:
//!
//! | code | meaning |
//! |---|---|
//! | 0 | ended as told |
//! | 1 | something that nobody foresaw |
//! | 2 | the command line or the file of registries makes no sense |
//! | 10 | not root |
//! | 11 | no overlayfs |
//! | 12 | no cgroups |
//! | 13 | data or run directory not writable |
//! | 14 | data or run directory in use by another agent |
//! | 15 | the address to listen on is taken |
//! | 16 | the node's identity is damaged or cannot be kept |
//! | 17 | the cluster refused this node, or is not the token's |
//! | 18 | the container engine cannot run here |
//! | 19 | the node's API cannot be served |
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use agent::config::Config;
use agent::daemon::{self, Failure};
use agent::telemetry;
use anyhow::Context;
use clap::Parser;

fn main() -> ExitCode {
    // Before any thread exists: the keeper forks.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "keeper") {
        return agent_engine::keeper_main();
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "files") {
        return agent_engine::helper_main();
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "unpack") {
        return agent_engine::unpack_main();
    }
    let arguments: Vec<_> = std::env::args_os().collect();
    if agent::oci::is_meant(&arguments) {
        return agent::oci::main(arguments);
    }
    let config = Config::parse();
    agent_engine::share_arenas();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; the exit code says it too.
            let _ = writeln!(std::io::stderr(), "agent: {error:#}");
            ExitCode::from(error.downcast_ref::<Failure>().map_or(1, Failure::exit_code))
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    // One provider for everybody in the process. It is set only here, so it cannot be set yet.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(async {
        let telemetry = telemetry::start();
        let result = daemon::run(config).await;
        telemetry.finish();
        result.map_err(anyhow::Error::from)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}
