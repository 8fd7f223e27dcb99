//! Every option that Docker's commands for containers have is known here: taken, or refused with a reason,
//! never "unexpected argument". The lists are those of Docker 28.2's own help.
#![cfg(test)]

use std::collections::BTreeMap;

use clap::{ArgAction, Command, CommandFactory};
use ctl::cli::Cli;

/// Switches of `run` and `create`; `detach` and `sig-proxy` are of `run` alone.
const SWITCHES: &str = "init interactive,i no-healthcheck oom-kill-disable privileged publish-all,P quiet,q read-only rm \
                        tty,t use-api-socket disable-content-trust";

/// What is followed by a value, with the short form where there is one.
const VALUED: &str = "add-host annotation attach,a blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns \
                      cidfile cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares,c cpus cpuset-cpus cpuset-mems \
                      device device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops dns \
                      dns-option dns-opt dns-search domainname entrypoint env,e env-file expose gpus group-add health-cmd \
                      health-interval health-retries health-start-interval health-start-period health-timeout hostname,h ip \
                      ip6 ipc isolation kernel-memory label,l label-file link link-local-ip log-driver log-opt mac-address memory,m \
                      memory-reservation memory-swap memory-swappiness mount name net net-alias network network-alias \
                      oom-score-adj pid pids-limit platform publish,p pull restart runtime security-opt shm-size stop-signal \
                      stop-timeout storage-opt sysctl tmpfs ulimit user,u userns uts volume,v volume-driver volumes-from \
                      workdir,w";

/// Windows' own.
const WINDOWS: &str = "cpu-count cpu-percent io-maxbandwidth io-maxiops";

const EXEC_SWITCHES: &str = "detach,d interactive,i privileged tty,t";
const EXEC_VALUED: &str = "detach-keys env,e env-file user,u workdir,w";
const UPDATE_VALUED: &str = "blkio-weight cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares,c cpus cpuset-cpus \
                             cpuset-mems kernel-memory memory,m memory-reservation memory-swap pids-limit restart";

/// A verb's grammar, found below the groups of words.
fn verb(path: &[&str]) -> Command {
    path.iter().fold(Cli::command(), |command, word| {
        command.find_subcommand(word).unwrap_or_else(|| panic!("no command {word}")).clone()
    })
}

/// Every long name with its short form and whether it is a switch.
fn known(command: &Command) -> BTreeMap<String, (Option<char>, bool)> {
    let mut known = BTreeMap::new();
    for argument in command.get_arguments() {
        let is_switch = !argument.get_action().takes_values() || argument.is_require_equals_set();
        let aliases = argument.get_all_aliases().unwrap_or_default();
        for name in argument.get_long().into_iter().chain(aliases) {
            known.insert(name.to_owned(), (argument.get_short(), is_switch));
        }
        let is_documented = argument.is_hide_set() || argument.get_help().is_some();
        assert!(is_documented, "{} has no help", argument.get_id());
        assert!(!matches!(argument.get_action(), ArgAction::Count), "Docker counts nothing");
    }
    known
}

#[track_caller]
fn has_all(path: &[&str], lists: &[(&str, bool)]) {
    let known = known(&verb(path));
    for (list, is_switch) in lists {
        for wanted in list.split_whitespace() {
            let (name, short) = wanted.split_once(',').unwrap_or((wanted, ""));
            let Some((found, kind)) = known.get(name) else {
                panic!("`ctl {}` does not know --{name}", path.join(" "));
            };
            assert_eq!(kind, is_switch, "`ctl {}` --{name}: is it a switch?", path.join(" "));
            assert_eq!(*found, short.chars().next(), "`ctl {}` --{name}: its short form", path.join(" "));
        }
    }
}

#[test]
fn no_option_of_run_and_create_is_unknown() {
    let both = [(SWITCHES, true), (VALUED, false), (WINDOWS, false)];
    for path in [&["run"][..], &["container", "run"], &["container", "create"]] {
        has_all(path, &both);
    }
    has_all(&["container", "run"], &[("detach,d sig-proxy", true), ("detach-keys", false)]);
}

#[test]
fn no_option_of_exec_and_update_is_unknown() {
    for path in [&["exec"][..], &["container", "exec"]] {
        has_all(path, &[(EXEC_SWITCHES, true), (EXEC_VALUED, false)]);
    }
    has_all(&["container", "update"], &[(UPDATE_VALUED, false)]);
}

/// The other verbs: switches, then what is followed by a value. `export --output` is `--file` here, since `--output` is an
/// option of all commands; `top` has no options of its own.
const OTHERS: [(&str, &str, &str); 20] = [
    ("attach", "no-stdin sig-proxy", "detach-keys"),
    ("commit", "pause,p", "author,a change,c message,m"),
    ("cp", "archive,a follow-link,L quiet,q", ""),
    ("diff", "", ""),
    ("events", "", "filter,f format since until"),
    ("export", "", "file,f"),
    ("inspect", "size,s", "format,f"),
    ("kill", "", "signal,s"),
    ("logs", "details follow,f timestamps,t", "since tail,n until"),
    ("ls", "all,a latest,l no-trunc quiet,q size,s", "filter,f format last,n"),
    ("pause", "", ""),
    ("port", "", ""),
    ("prune", "force,f", "filter"),
    ("restart", "", "signal,s timeout,t time,t"),
    ("rm", "force,f link,l volumes,v", ""),
    ("start", "attach,a interactive,i", "checkpoint checkpoint-dir detach-keys"),
    ("stats", "all,a no-stream no-trunc", "format"),
    ("stop", "", "signal,s timeout,t time,t"),
    ("unpause", "", ""),
    ("wait", "", ""),
];

#[test]
fn no_option_of_any_other_verb_is_unknown() {
    for (verb, switches, valued) in OTHERS {
        has_all(&["container", verb], &[(switches, true), (valued, false)]);
    }
}
