//! Options of Docker's that are known and not taken, each with the reason: somebody who brings a command along
//! learns why it can't work here, instead of "unexpected argument".

use std::marker::PhantomData;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::error::{CommandError, Kind};

/// An option that is not taken.
#[derive(Debug)]
pub(in crate::cmd::container) struct Refusal {
    name: &'static str,
    short: Option<char>,
    /// A switch; all others are followed by a value.
    is_switch: bool,
    reason: &'static str,
}

const fn valued(name: &'static str, reason: &'static str) -> Refusal {
    Refusal { name, short: None, is_switch: false, reason }
}

const fn switch(name: &'static str, reason: &'static str) -> Refusal {
    Refusal { name, short: None, is_switch: true, reason }
}

const CHECKPOINT: &str =
    "processes are not written to files, so none come back from them; use pause, or start it anew";
const OTHER_NETWORKS: &str = "there is one network, the host's bridge, with addresses of its own choice";
const WINDOWS: &str = "it is an option for Windows containers";
const KERNEL_MEMORY: &str = "Linux 5.4 gave it up; --memory counts the kernel's memory too";

/// The options of one verb that are not taken.
pub(in crate::cmd::container) trait List {
    /// All of them.
    const ALL: &'static [Refusal];
}

/// Of `run` and `create`.
#[derive(Debug, Default)]
pub(in crate::cmd::container) struct OfCreate;

impl List for OfCreate {
    const ALL: &'static [Refusal] = &[
        valued("cgroup-manager", "cgroups are written directly; there is no manager to choose"),
        valued("cpu-count", WINDOWS),
        valued("cpu-percent", WINDOWS),
        switch(
            "disable-content-trust",
            "there is no content trust to disable; name images by digest to pin them",
        ),
        valued("io-maxbandwidth", WINDOWS),
        valued("io-maxiops", WINDOWS),
        valued("ip", OTHER_NETWORKS),
        valued("ip6", OTHER_NETWORKS),
        valued("isolation", WINDOWS),
        valued("kernel-memory", KERNEL_MEMORY),
        valued("kernel-memory-tcp", KERNEL_MEMORY),
        valued("link", "Docker gave it up; use --add-host, or a service, which is found by its name"),
        valued("link-local-ip", OTHER_NETWORKS),
        valued("mac-address", OTHER_NETWORKS),
        valued("net-alias", OTHER_NETWORKS),
        valued("network-alias", OTHER_NETWORKS),
        valued("runtime", "the agent is its own runtime; `ctl container run` has no other"),
        switch(
            "use-api-socket",
            "it would give the container the whole host; mount a socket on purpose with --volume",
        ),
    ];
}

/// Of `update`.
#[derive(Debug, Default)]
pub(in crate::cmd::container) struct OfUpdate;

impl List for OfUpdate {
    const ALL: &'static [Refusal] = &[valued("kernel-memory", KERNEL_MEMORY)];
}

/// Of `start`.
#[derive(Debug, Default)]
pub(in crate::cmd::container) struct OfStart;

impl List for OfStart {
    const ALL: &'static [Refusal] = &[valued("checkpoint", CHECKPOINT), valued("checkpoint-dir", CHECKPOINT)];
}

/// Of `rm`.
#[derive(Debug, Default)]
pub(in crate::cmd::container) struct OfRemove;

impl List for OfRemove {
    const ALL: &'static [Refusal] = &[Refusal {
        short: Some('l'),
        ..switch("link", "there are no links between containers that could be removed alone")
    }];
}

/// Which of a list were given.
#[derive(Debug, Default)]
pub(in crate::cmd::container) struct Refused<L> {
    given: Vec<&'static Refusal>,
    list: PhantomData<L>,
}

impl<L: List> clap::Args for Refused<L> {
    fn augment_args(command: Command) -> Command {
        L::ALL.iter().fold(command, |command, refusal| {
            let argument = Arg::new(refusal.name).long(refusal.name).short(refusal.short).hide(true);
            command.arg(match refusal.is_switch {
                true => argument.action(ArgAction::SetTrue),
                false => argument.action(ArgAction::Append).allow_hyphen_values(true),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<L: List> clap::FromArgMatches for Refused<L> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let by_hand = Some(clap::parser::ValueSource::CommandLine);
        let given = L::ALL.iter().filter(|refusal| {
            let is_off = || refusal.is_switch && !matches.get_flag(refusal.name);
            matches.value_source(refusal.name) == by_hand && !is_off()
        });
        Ok(Self { given: given.collect(), list: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<L: List> Refused<L> {
    /// The first of them as an error.
    ///
    /// # Errors
    /// When one was given.
    pub(in crate::cmd::container) fn check(&self) -> Result<(), CommandError> {
        match self.given.first() {
            Some(Refusal { name, reason, .. }) => {
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

    fn each_says_why<L: List>() {
        for refusal in L::ALL {
            let command =
                Refused::<L>::augment_args(Command::new("run").arg(Arg::new("image").required(true)));
            let option = format!("--{}", refusal.name);
            let value: &[&str] = if refusal.is_switch { &[] } else { &["-1"] };
            let line = [&["run", &option], value, &["image"]].concat();
            let matches = command.try_get_matches_from(line).expect("it parses, and leaves the image alone");
            let refused = Refused::<L>::from_arg_matches(&matches).expect("it parses");
            let error = refused.check().unwrap_err().to_string();
            assert!(error.contains(refusal.name) && error.contains(refusal.reason), "{error}");
        }
    }

    #[test]
    fn a_refused_option_says_why() {
        each_says_why::<OfCreate>();
        each_says_why::<OfUpdate>();
        each_says_why::<OfStart>();
        each_says_why::<OfRemove>();
    }

    #[test]
    fn without_one_nothing_is_refused() {
        let matches = Refused::<OfCreate>::augment_args(Command::new("run")).get_matches_from(["run"]);
        assert!(Refused::<OfCreate>::from_arg_matches(&matches).expect("they parse").check().is_ok());
    }
}
