//! The grammar of the command line: global options and the groups of commands.
//! Each command's own arguments stand in its file under `cmd/`.

use clap::{Parser, Subcommand};

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
    pub agent: Option<std::path::PathBuf>,
    /// How to print data: table for people, json for programs
    #[arg(long, short = 'o', global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    #[arg(hide_possible_values = true)]
    pub output: Format,
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
    /// Single containers on this host
    #[command(subcommand)]
    Container(cmd::container::Command),
    /// Images on this host
    #[command(subcommand)]
    Image(cmd::image::Command),
    /// Print a completion script for a shell
    Completion(cmd::completion::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
