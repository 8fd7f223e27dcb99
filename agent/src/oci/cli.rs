//! The grammar, word for word what callers of `runc` say.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs containers from OCI bundles.
#[derive(Debug, Parser)]
#[command(name = "agent-oci", version = concat!(env!("CARGO_PKG_VERSION"), "\nspec: 1.2.0"))]
pub(super) struct Cli {
    /// Where containers are recorded
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/agent-oci")]
    pub(super) root: PathBuf,
    /// A file that complaints are also appended to
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// How they are written there
    #[arg(long, global = true, value_parser = ["text", "json"], value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
    /// Write there what is done, too
    #[arg(long, global = true)]
    pub(super) debug: bool,
    /// Refused: cgroups are managed as files
    #[arg(long, global = true)]
    pub(super) systemd_cgroup: bool,
    /// Accepted and without meaning: whether there is a user namespace is up to the bundle
    #[arg(long, global = true, value_name = "auto|true|false", num_args = 1, hide = true)]
    pub(super) rootless: Option<String>,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make a container from a bundle, and let it wait for `start`
    Create(Making),
    /// Run the program of a container that was made
    Start {
        /// The container
        id: String,
    },
    /// Print a container's state
    State {
        /// The container
        id: String,
    },
    /// Send a signal to a container's process
    Kill {
        /// The container
        id: String,
        /// Name or number
        #[arg(default_value = "TERM")]
        signal: String,
        /// To all of its processes
        #[arg(long, short)]
        all: bool,
    },
    /// Remove a container that has stopped
    Delete {
        /// The container
        id: String,
        /// Kill it first if it runs; absence is no mistake
        #[arg(long, short)]
        force: bool,
    },
    /// Make a container, start it, wait for its end and remove it
    Run(Running),
    /// Run a further process in a container
    Exec(Executing),
    /// List the containers
    List {
        /// How
        #[arg(long, short, value_enum, default_value = "table")]
        format: Format,
        /// Print ids only
        #[arg(long, short)]
        quiet: bool,
    },
    /// List a container's processes
    Ps {
        /// The container
        id: String,
        /// How
        #[arg(long, short, value_enum, default_value = "table")]
        format: Format,
    },
    /// Freeze a container's processes
    Pause {
        /// The container
        id: String,
    },
    /// Let them go on
    Resume {
        /// The container
        id: String,
    },
    /// Change the resources of a container
    Update(Updating),
    /// Print what this runtime can do
    Features,
    /// Write a configuration to start from
    Spec {
        /// Into this directory
        #[arg(long, short, value_name = "DIR")]
        bundle: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Making {
    /// The new container's id
    pub(super) id: String,
    /// The bundle's directory
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(super) bundle: PathBuf,
    /// A unix socket that takes the terminal
    #[arg(long, value_name = "SOCKET")]
    pub(super) console_socket: Option<PathBuf>,
    /// Gets the process id
    #[arg(long, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the process keeps
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) preserve_fds: u32,
    /// Refused: it would leave a way out of the root filesystem
    #[arg(long)]
    pub(super) no_pivot: bool,
    /// Accepted: no session keyring is made
    #[arg(long)]
    pub(super) no_new_keyring: bool,
}

#[derive(Debug, Args)]
pub(super) struct Running {
    #[command(flatten)]
    pub(super) making: Making,
    /// Do not wait
    #[arg(long, short)]
    pub(super) detach: bool,
    /// Leave the container when it has stopped
    #[arg(long)]
    pub(super) keep: bool,
}

#[derive(Debug, Args)]
pub(super) struct Executing {
    /// The container
    pub(super) id: String,
    /// The program and its arguments, unless --process says it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) args: Vec<String>,
    /// A file with the `process` of a configuration
    #[arg(long, short, value_name = "FILE")]
    pub(super) process: Option<PathBuf>,
    /// Do not wait
    #[arg(long, short)]
    pub(super) detach: bool,
    /// With a terminal
    #[arg(long, short)]
    pub(super) tty: bool,
    /// A unix socket that takes the terminal
    #[arg(long, value_name = "SOCKET")]
    pub(super) console_socket: Option<PathBuf>,
    /// Gets the process id
    #[arg(long, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// The working directory
    #[arg(long, value_name = "DIR")]
    pub(super) cwd: Option<PathBuf>,
    /// A variable of the environment; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(super) env: Vec<String>,
    /// The user, and the group behind a colon, as numbers
    #[arg(long, short, value_name = "UID[:GID]")]
    pub(super) user: Option<String>,
    /// A further group, as a number; may be repeated
    #[arg(long, short = 'g', value_name = "GID")]
    pub(super) additional_gids: Vec<u32>,
    /// Gain no privileges
    #[arg(long)]
    pub(super) no_new_privs: bool,
    /// How many descriptors from 3 on the process keeps
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) preserve_fds: u32,
}

#[derive(Debug, Args)]
pub(super) struct Updating {
    /// The container
    pub(super) id: String,
    /// A file with `linux.resources` of a configuration, `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub(super) resources: Option<PathBuf>,
    /// Bytes of memory
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(super) memory: Option<i64>,
    /// Bytes of memory and swap together
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(super) memory_swap: Option<i64>,
    /// Bytes of memory that stay with it in need
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(super) memory_reservation: Option<i64>,
    /// Share of processor time beside others
    #[arg(long, alias = "cpu-share", value_name = "SHARES")]
    pub(super) cpu_shares: Option<u64>,
    /// Microseconds of processor time in a period
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    pub(super) cpu_quota: Option<i64>,
    /// Length of a period in microseconds
    #[arg(long, value_name = "US")]
    pub(super) cpu_period: Option<u64>,
    /// Processors it may run on
    #[arg(long, value_name = "LIST")]
    pub(super) cpuset_cpus: Option<String>,
    /// Memory nodes it may use
    #[arg(long, value_name = "LIST")]
    pub(super) cpuset_mems: Option<String>,
    /// Processes it may have
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) pids_limit: Option<i64>,
}
