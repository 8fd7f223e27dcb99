//! `agent oci`: the command line that other container engines drive a runtime by, in the way of `runc`.
//!
//! Runs before any thread exists, because making a container copies this process. Answers go to standard output,
//! complaints to standard error and, with `--log`, to a file in the form callers read. Everything is done by
//! [`agent_engine::oci`]; here are only words.
//!
//! Deliberately absent: checkpoints, and the systemd cgroup manager, which is refused.

mod cli;
mod delete;
mod exec;
mod lifecycle;
mod log;
mod query;
mod run;
mod spec;
mod update;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use agent_engine::oci::{OciError, Runtime};
use clap::Parser;

use cli::{Cli, Verb};

/// The name that stands for `agent oci` where a caller takes a program without arguments.
const NAME: &str = "agent-oci";

/// Whether these arguments of a process mean this command line.
pub fn is_meant(arguments: &[OsString]) -> bool {
    named(arguments) || arguments.get(1).is_some_and(|argument| argument == "oci")
}

fn named(arguments: &[OsString]) -> bool {
    arguments.first().and_then(|program| Path::new(program).file_name()) == Some(OsStr::new(NAME))
}

/// Runs the command line.
pub fn main(mut arguments: Vec<OsString>) -> ExitCode {
    if !named(&arguments) {
        arguments.remove(1);
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, everything else is a mistake; clap knows which stream is whose.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let log = log::Log::new(cli.log.as_deref(), cli.log_format.as_deref() == Some("json"), cli.debug);
    match answer(&cli, &log) {
        Ok(code) => code,
        Err(error) => {
            log.error(&error.to_string());
            ExitCode::from(1)
        }
    }
}

fn answer(cli: &Cli, log: &log::Log<'_>) -> Result<ExitCode, OciError> {
    if cli.systemd_cgroup {
        let text = "--systemd-cgroup is not supported: let the caller manage cgroups as files (cgroupfs)";
        return Err(OciError::Usage(text.to_owned()));
    }
    let runtime = Runtime::new(&cli.root);
    match &cli.verb {
        Verb::Create(arguments) => lifecycle::create(&runtime, arguments),
        Verb::Start { id } => runtime.start(id).map(|()| ExitCode::SUCCESS),
        Verb::State { id } => query::state(&runtime, id),
        Verb::Kill { id, signal, all } => lifecycle::kill(&runtime, id, signal, *all),
        Verb::Delete { id, force } => delete::delete(&runtime, id, *force, log),
        Verb::Run(arguments) => run::run(&runtime, arguments, log),
        Verb::Exec(arguments) => exec::exec(&runtime, arguments),
        Verb::List { format, quiet } => query::list(&runtime, *format, *quiet),
        Verb::Ps { id, format } => query::ps(&runtime, id, *format),
        Verb::Pause { id } => runtime.pause(id, true).map(|()| ExitCode::SUCCESS),
        Verb::Resume { id } => runtime.pause(id, false).map(|()| ExitCode::SUCCESS),
        Verb::Update(arguments) => update::update(&runtime, arguments),
        Verb::Features => query::features(),
        Verb::Spec { bundle } => spec::spec(bundle.as_deref()),
    }
}

/// Prints an answer.
fn say(text: &str) -> Result<ExitCode, OciError> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| OciError::Io { action: "write the answer".to_owned(), source })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_meant_by_its_first_word_or_by_its_name() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(is_meant(&words(&["/usr/bin/agent", "oci", "list"])));
        assert!(is_meant(&words(&["/usr/bin/agent-oci", "list"])));
        assert!(!is_meant(&words(&["/usr/bin/agent", "--name", "oci"])));
    }
}
