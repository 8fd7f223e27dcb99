//! The grammar of the command line: global options and the groups of commands.
//! Each command's own arguments stand in its file under `cmd/`.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, Parser, Subcommand};

use crate::cmd;
use crate::output::Format;

/// Drive a Roadstead cluster, or the containers of one host.
#[derive(Debug, Parser)]
#[command(name = "ctl", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// Use this context instead of the current one (or set ROADSTEAD_CONTEXT)
    #[arg(long, global = true, env = "ROADSTEAD_CONTEXT", hide_env = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Talk to the agent behind this socket, whatever the context says (or set ROADSTEAD_AGENT)
    #[arg(long, global = true, env = "ROADSTEAD_AGENT", hide_env = true, value_name = "SOCKET")]
    pub agent_socket: Option<std::path::PathBuf>,
    /// How to print data: table for people, json for programs
    #[arg(long, short = 'o', global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    #[arg(hide_possible_values = true)]
    pub output: Format,
    /// Set by [`OnHost`]: the node whose agent is meant.
    #[arg(skip)]
    pub node: Option<String>,
}

/// A group of commands for one host: this one, or a node of the cluster.
#[derive(Debug, clap::Args)]
pub struct OnHost<C: Subcommand> {
    /// On this node of the cluster instead of on this host
    #[arg(long, global = true, value_name = "NODE", conflicts_with = "agent_socket")]
    node: Option<String>,
    /// What to do there.
    #[command(subcommand)]
    pub command: C,
}

impl<C: Subcommand> OnHost<C> {
    /// The global options with the host that is meant.
    pub fn scope<'g>(&self, global: &'g mut Global) -> &'g Global {
        global.node.clone_from(&self.node);
        global
    }
}

/// One command for one host, in short.
#[derive(Debug, clap::Args)]
pub struct Short<A: clap::Args> {
    /// On this node of the cluster instead of on this host
    #[arg(long, value_name = "NODE", conflicts_with = "agent_socket")]
    node: Option<String>,
    /// Its own arguments.
    #[command(flatten)]
    pub args: A,
}

impl<A: clap::Args> Short<A> {
    /// The global options with the host that is meant.
    pub fn scope<'g>(&self, global: &'g mut Global) -> &'g Global {
        global.node.clone_from(&self.node);
        global
    }
}

/// Reads a command line. Switches may have a value, as scripts for Docker write them (`--rm=true`, `--init=false`);
/// that is tried only where it makes no sense otherwise, so that no help text shows it.
///
/// # Errors
/// What is wrong with it, or the help text that was asked for.
pub fn parse(line: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let plain = Cli::command().try_get_matches_from(line);
    match plain {
        // `-o` is how everything is printed; only `save` has nothing to print, and Docker's means the file.
        Err(error) if error.kind() == ErrorKind::InvalidValue && line.iter().any(|word| word == "save") => {
            Cli::command().try_get_matches_from(with_file(line)).map_err(|_| error)
        }
        Err(error) if error.kind() == ErrorKind::TooManyValues => {
            with_values(Cli::command()).try_get_matches_from(line).map_err(|_| error)
        }
        other => other,
    }
}

/// The same command line with `--file` for `--output`.
fn with_file(line: &[OsString]) -> Vec<OsString> {
    let renamed = |word: &OsString| match word.to_str() {
        Some("-o" | "--output") => "--file".into(),
        Some(text) => match text.strip_prefix("--output=").or_else(|| text.strip_prefix("-o=")) {
            Some(file) => format!("--file={file}").into(),
            None => word.clone(),
        },
        None => word.clone(),
    };
    line.iter().map(renamed).collect()
}

/// The same grammar with values for switches.
fn with_values(command: clap::Command) -> clap::Command {
    let valued = |argument: Arg| match argument.get_action() {
        ArgAction::SetTrue => argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_parser(clap::value_parser!(bool))
            .default_value("false")
            .default_missing_value("true"),
        _ => argument,
    };
    command.mut_args(valued).mut_subcommands(with_values)
}

/// The groups of commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a one-node cluster on this machine and keep it until Ctrl-C
    Dev(cmd::dev::Args),
    /// Services: sets of containers that the cluster keeps running
    #[command(subcommand)]
    Service(cmd::service::Command),
    /// Nodes: the hosts of the cluster
    #[command(subcommand)]
    Node(cmd::node::Command),
    /// The cluster itself
    #[command(subcommand)]
    Cluster(cmd::cluster::Command),
    /// Single containers on this host, or on a node
    Container(OnHost<cmd::container::Command>),
    /// Images on this host, or on a node
    Image(OnHost<cmd::image::Command>),
    /// Volumes on this host, or on a node
    Volume(OnHost<cmd::volume::Command>),
    /// The disk of this host, or of a node
    System(OnHost<cmd::system::Command>),
    /// Run a program in a new container (container run)
    Run(Box<Short<cmd::container::RunArgs>>),
    /// Run a program in a running container (container exec)
    Exec(Box<Short<cmd::container::ExecArgs>>),
    /// List containers (container ls)
    Ps(Short<cmd::container::ListArgs>),
    /// Print what a container wrote (container logs)
    Logs(Short<cmd::container::LogsArgs>),
    /// List images (image ls)
    Images(Short<cmd::image::ListArgs>),
    /// Fetch an image from its registry (image pull)
    Pull(Short<cmd::image::PullArgs>),
    /// Remove images (image rm)
    Rmi(Short<cmd::image::RemoveArgs>),
    /// Show what happens on a host, as it happens
    Events(Short<cmd::container::EventsArgs>),
    /// Show what a host is, has and lacks
    Info(Short<cmd::info::Args>),
    /// Bring an image to its registry (image push)
    Push(Short<cmd::image::PushArgs>),
    /// Try credentials for a registry, and keep them
    Login(Short<cmd::login::LoginArgs>),
    /// Forget the credentials for a registry
    Logout(cmd::login::LogoutArgs),
    /// Print a completion script for a shell
    Completion(cmd::completion::Args),
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    #[test]
    fn the_grammar_is_consistent() {
        super::Cli::command().debug_assert();
        super::with_values(super::Cli::command()).debug_assert();
    }

    #[test]
    fn switches_may_have_values() {
        let shown = |line: &str| {
            let line: Vec<_> = line.split(' ').map(Into::into).collect();
            let cli = super::parse(&line).and_then(|matches| super::Cli::from_arg_matches(&matches));
            cli.map(|cli| format!("{:?}", cli.command)).map_err(|error| error.to_string())
        };
        let with = shown("ctl run --rm=true --init=false -it image sh --login=x").expect("it parses");
        assert_eq!(with, shown("ctl run --rm -it image sh --login=x").expect("it parses"));
        for bad in ["ctl run --rm=maybe image", "ctl run --name=a=b --rm=1x image"] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_archive_may_be_written_to_a_file_in_dockers_words() {
        let shown = |line: &str| {
            let line: Vec<_> = line.split(' ').map(Into::into).collect();
            let cli = super::parse(&line).and_then(|matches| super::Cli::from_arg_matches(&matches));
            cli.map(|cli| format!("{:?}", cli.command)).map_err(|error| error.to_string())
        };
        let expected = shown("ctl image save --file a.tar x").expect("it parses");
        for line in ["ctl image save -o a.tar x", "ctl image save x --output=a.tar"] {
            assert_eq!(shown(line), Ok(expected.clone()), "{line}");
        }
        assert!(shown("ctl image ls -o a.tar").is_err());
    }

    /// A command's own option would be read as the global one, with the global one's type.
    #[test]
    fn no_command_has_an_option_that_is_called_like_a_global_one() {
        fn walk(command: &clap::Command, globals: &[&str]) {
            for argument in command.get_arguments().filter(|argument| !argument.is_global_set()) {
                let (name, id) = (command.get_name(), argument.get_id().as_str());
                assert!(!globals.contains(&id), "{name} has an --{id} of its own");
            }
            command.get_subcommands().for_each(|command| walk(command, globals));
        }
        let cli = super::Cli::command();
        let globals: Vec<&str> =
            cli.get_arguments().filter(|one| one.is_global_set()).map(|one| one.get_id().as_str()).collect();
        assert!(globals.contains(&"agent_socket") && globals.len() >= 3, "{globals:?}");
        cli.get_subcommands().for_each(|command| walk(command, &globals));
    }
}
