//! What runs here: one command of `ctl`, from its arguments to its exit code.
//!
//! - [`cli`] is the grammar; [`cmd`] has one file per command: its arguments,
//!   its help text and the function that performs it.
//! - [`client`] opens gRPC channels; [`context`] knows to whom.
//! - [`output`] owns the terminal: data goes to stdout, all else to stderr.
//! - `complete` answers shells that complete a line.
//! - `archive` reads and writes files of this machine for `container cp`.
//! - [`error`] turns every failure into a message, hints and an exit code.
//!
//! Deliberately absent: any decision of the cluster. `ctl` validates nothing
//! that the controller validates, and keeps no state but its contexts.
#![forbid(unsafe_code)]

pub mod archive;
pub mod cli;
pub mod client;
pub mod cmd;
mod complete;
pub mod context;
pub mod credentials;
pub mod error;
pub mod moment;
pub mod output;
pub mod telemetry;
pub mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use tracing::Instrument;

/// Runs the command line of this process and returns its exit code.
pub fn run() -> ExitCode {
    let line: Vec<_> = std::env::args_os().collect();
    if let Some(code) = complete::answer(&line) {
        return code;
    }
    let read = cli::parse(&line).and_then(|matches| Ok((cli::Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match read {
        Ok(read) => read,
        Err(error) => return misread(&line, &error),
    };
    let name = command_name(&matches);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::fail(&error::CommandError::internal(format!("cannot start: {error}")));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let telemetry = telemetry::start();
        let span = telemetry::command_span(&name);
        let outcome = cmd::run(cli).instrument(span.clone()).await;
        if let Err(error) = &outcome {
            telemetry::record_failure(&span, &error.to_string());
        }
        drop(span);
        telemetry.finish();
        outcome
    });
    // A read of standard input may still be blocked in a thread; nothing waits for it.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::fail(&error);
            ExitCode::from(error.kind.exit_code_of(&name))
        }
    }
}

/// Says what is wrong with a command line, or shows the help that was asked for.
fn misread(line: &[OsString], error: &clap::Error) -> ExitCode {
    // Nobody may be reading it.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let partly = cli::Cli::command().ignore_errors(true).try_get_matches_from(line);
    let name = partly.map(|matches| command_name(&matches)).unwrap_or_default();
    ExitCode::from(error::Kind::Usage.exit_code_of(&name))
}

/// The words that choose the command, without its arguments: they may be secret.
fn command_name(matches: &clap::ArgMatches) -> String {
    let mut words = vec!["ctl"];
    let mut level = matches;
    while let Some((word, below)) = level.subcommand() {
        words.push(word);
        level = below;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_named_without_its_arguments() {
        let line = ["ctl", "-o", "json", "container", "run", "-e", "PASSWORD=x", "image", "sh"];
        let matches = cli::parse(&line.map(Into::into));
        assert_eq!(matches.map(|matches| command_name(&matches)).ok().as_deref(), Some("ctl container run"));
    }

    #[test]
    fn a_mistake_counts_as_one_of_the_command_it_is_in() {
        let code = |line: &str| {
            let line: Vec<OsString> = line.split(' ').map(Into::into).collect();
            let error = cli::parse(&line).expect_err("it makes no sense");
            format!("{:?}", misread(&line, &error))
        };
        let code_of = |code: u8| format!("{:?}", ExitCode::from(code));
        for line in
            ["ctl run --nonsense image", "ctl container run", "ctl container exec c", "ctl exec --env"]
        {
            assert_eq!(code(line), code_of(125), "{line}");
        }
        for line in ["ctl ps --nonsense", "ctl nonsense run", "ctl", "ctl container", "ctl volume rm"] {
            assert_eq!(code(line), code_of(2), "{line}");
        }
        assert_eq!(code("ctl run --help"), code_of(0));
    }
}
