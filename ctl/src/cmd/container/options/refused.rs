//! Options of Docker's that are known and not taken, each with the reason: somebody who brings a command along
//! learns why it can't work here, instead of "unexpected argument".

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::error::{CommandError, Kind};

const OTHER_NETWORKS: &str = "there is one network, the host's bridge, with addresses of its own choice";
const WINDOWS: &str = "it is an option for Windows containers";
const REAL_TIME: &str = "no cgroup above the container's has real-time budget to hand down; for real-time priority use \
                         --cap-add SYS_NICE --ulimit rtprio=99 --userns host";

/// Name and reason.
const REFUSED: [(&str, &str); 21] = [
    ("cpu-count", WINDOWS),
    ("cpu-percent", WINDOWS),
    ("cpu-rt-period", REAL_TIME),
    ("cpu-rt-runtime", REAL_TIME),
    ("disable-content-trust", "there is no content trust to disable; name images by digest to pin them"),
    ("io-maxbandwidth", WINDOWS),
    ("io-maxiops", WINDOWS),
    ("ip", OTHER_NETWORKS),
    ("ip6", OTHER_NETWORKS),
    ("isolation", WINDOWS),
    ("kernel-memory", "Linux 5.4 gave it up; --memory counts the kernel's memory too"),
    ("link", "Docker gave it up; use --add-host, or a service, which is found by its name"),
    ("link-local-ip", OTHER_NETWORKS),
    ("mac-address", OTHER_NETWORKS),
    ("net-alias", OTHER_NETWORKS),
    ("network-alias", OTHER_NETWORKS),
    ("runtime", "the agent is its own runtime; `ctl container run` has no other"),
    ("storage-opt", "a limit of the root filesystem needs project quotas, which are not set up for it"),
    ("use-api-socket", "it would give the container the whole host; mount a socket on purpose with --volume"),
    ("kernel-memory-tcp", "Linux 5.4 gave it up; --memory counts the kernel's memory too"),
    ("cgroup-manager", "cgroups are written directly; there is no manager to choose"),
];

/// Which of them were given.
#[derive(Debug, Default)]
pub(super) struct Refused(Vec<&'static str>);

impl clap::Args for Refused {
    fn augment_args(command: Command) -> Command {
        REFUSED.iter().fold(command, |command, (name, _)| {
            command.arg(Arg::new(*name).long(*name).hide(true).num_args(0..=1).action(ArgAction::Append))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Refused {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &&str| matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
        Ok(Self(REFUSED.map(|(name, _)| name).into_iter().filter(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Refused {
    /// The first of them as an error.
    pub(super) fn check(&self) -> Result<(), CommandError> {
        let reason = |name: &str| REFUSED.iter().find(|(known, _)| *known == name).map(|(_, reason)| *reason);
        match self.0.first() {
            Some(name) => {
                let reason = reason(name).unwrap_or_default();
                Err(CommandError::new(Kind::Usage, format!("--{name} is not taken: {reason}")))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    #[test]
    fn a_refused_option_says_why() {
        for (name, reason) in REFUSED {
            let command = Refused::augment_args(Command::new("run"));
            let matches = command.get_matches_from(["run", &format!("--{name}"), "x"]);
            let refused = Refused::from_arg_matches(&matches).expect("they parse");
            let error = refused.check().unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn without_one_nothing_is_refused() {
        let matches = Refused::augment_args(Command::new("run")).get_matches_from(["run"]);
        assert!(Refused::from_arg_matches(&matches).expect("they parse").check().is_ok());
    }
}
