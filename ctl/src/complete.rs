//! Completion in shells. A shell runs `ctl` again with what was typed so far; the grammar answers, and for names of
//! containers, images, volumes, services and nodes whoever has them is asked. That takes half a second at most: without an
//! answer there are no names, and no error in the middle of somebody's line.

mod names;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, Command, CommandFactory};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;

use self::names::{Kind, Which};
use crate::cli::Cli;

/// Set by the scripts of [`script`]: the shell that asks.
const VARIABLE: &str = "ROADSTEAD_COMPLETE";

/// Networks and modes that every host has.
const NETWORKS: [&str; 3] = ["bridge", "none", "host"];

/// Answers a shell that asks; `None` when this is a command like any other.
pub(crate) fn answer(line: &[OsString]) -> Option<ExitCode> {
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(grammar).var(VARIABLE).try_complete(line.to_vec(), here.as_deref());
    match asked {
        Ok(false) => None,
        Ok(true) => Some(ExitCode::SUCCESS),
        // The shell shows nothing of it either.
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// The script that makes a shell ask.
///
/// # Errors
/// When there is none for this shell.
pub(crate) fn script(shell: &str) -> std::io::Result<Vec<u8>> {
    let mut script = Vec::new();
    match Shells::builtins().completer(shell) {
        Some(shell) => shell.write_registration(VARIABLE, "ctl", "ctl", "ctl", &mut script)?,
        None => return Err(std::io::ErrorKind::NotFound.into()),
    }
    Ok(script)
}

/// The grammar, with who knows the names in it.
fn grammar() -> Command {
    with_names(Cli::command())
}

fn with_names(command: Command) -> Command {
    let which = Which::of(command.get_name());
    command.mut_args(|argument| named(argument, which)).mut_subcommands(with_names)
}

fn named(argument: Arg, which: Which) -> Arg {
    let value =
        argument.get_value_names().and_then(|names| names.first()).map(|name| name.to_ascii_uppercase());
    // `--volume` and its like have a notation, in which a name is a part.
    let is_option = argument.get_long().is_some();
    let kind = match value.unwrap_or_else(|| argument.get_id().as_str().to_ascii_uppercase()).as_str() {
        "CONTAINER" | "CONTAINERS" => Kind::Container(which),
        "IMAGE" | "IMAGES" => Kind::Image,
        "VOLUME" | "VOLUMES" if !is_option => Kind::Volume,
        "SERVICE" | "SERVICES" if !is_option => Kind::Service,
        "NODE" => Kind::Node,
        _ if argument.get_long() == Some("network") => return argument.add(ArgValueCompleter::new(networks)),
        _ => return argument,
    };
    argument.add(ArgValueCompleter::new(move |typed: &std::ffi::OsStr| names::of(kind, typed)))
}

fn networks(typed: &std::ffi::OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    match typed.strip_prefix("container:") {
        Some(name) => names::of(Kind::Container(Which::Running), name.as_ref())
            .into_iter()
            .map(|candidate| candidate.add_prefix("container:"))
            .collect(),
        None => NETWORKS
            .into_iter()
            .filter(|name| name.starts_with(&*typed))
            .map(CompletionCandidate::new)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let at = words.len() - 1;
        let found = clap_complete::engine::complete(&mut grammar(), words, at, None).expect("it completes");
        found.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn the_grammar_completes_itself() {
        assert!(completed("ctl conta").contains(&"container".to_owned()));
        assert!(completed("ctl container st").contains(&"stats".to_owned()));
        assert!(completed("ctl run --net").contains(&"--network".to_owned()));
        assert_eq!(completed("ctl run --network b"), ["bridge"]);
        let cpu = completed("ctl run --cpu");
        assert!(
            cpu.contains(&"--cpus".to_owned()) && !cpu.contains(&"--cpu-count".to_owned()),
            "what is refused is not offered: {cpu:?}"
        );
    }

    #[test]
    fn without_an_agent_there_are_no_names_and_nobody_waits() {
        let since = std::time::Instant::now();
        assert_eq!(completed("ctl --agent-socket /none exec x"), Vec::<String>::new());
        assert!(since.elapsed() < std::time::Duration::from_secs(2));
    }

    #[test]
    fn each_shell_has_a_script_that_calls_ctl() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = script(shell).map(|script| String::from_utf8_lossy(&script).into_owned());
            assert!(
                script.is_ok_and(|script| script.contains(VARIABLE) && script.contains("ctl")),
                "{shell}"
            );
        }
        assert!(script("csh").is_err());
    }
}
