//! What the engine asks for: one container, as plain data.
//!
//! A [`ContainerSpec`] travels from the agent to the keeper as JSON. It holds no descriptor (the network
//! namespace is handed over beside it) and nothing here touches the kernel.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxSeccomp, Process, Spec};
use serde::{Deserialize, Serialize};

/// The type of a mount in [`ContainerSpec::oci`] whose source is the number of a mount handed over as a descriptor:
/// opened by the agent in the host's own mount namespace, which the keeper has left.
pub const DESCRIPTOR: &str = "descriptor";

/// One container to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The container's id; letters, digits, `-`, `_` and `.`, at most 128 of them.
    pub id: String,
    /// The OCI runtime specification. `linux.uidMappings` empty means no user namespace.
    pub oci: Spec,
    /// Where the root filesystem comes from (`oci.root.path` is not read, `oci.root.readonly` is).
    pub rootfs: Rootfs,
    /// Directory of this container's records and logs; belongs to the keeper.
    pub state_dir: PathBuf,
    /// The initial size of the terminal; `None` gives the process pipes instead of a terminal.
    pub terminal: Option<WindowSize>,
    /// Whether standard input is a pipe; otherwise it is `/dev/null`. A terminal is always readable.
    pub open_stdin: bool,
    /// What is kept of its output.
    pub log: LogPolicy,
    /// Which system calls are allowed, where `oci.linux.seccomp` does not say.
    #[serde(default)]
    pub seccomp: SeccompPolicy,
    /// Whether process 1 is one that reaps and forwards signals, with the program as its child.
    #[serde(default)]
    pub init: bool,
    /// Whether it is removed at its end in any case: then how it ended need not survive a power cut, and nothing
    /// waits for the disk.
    #[serde(default)]
    pub throw_away: bool,
    /// W3C trace context of whoever asked for the container.
    pub traceparent: Option<String>,
}

/// A further process for a running container. It joins the namespaces, cgroup and root filesystem of the
/// container's first process; who it is and what it may do is its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Its id, unlike that of any container or other process; the same letters are allowed.
    pub id: String,
    /// Arguments, environment, directory, user, capabilities and limits, as the OCI specification has them.
    pub process: Process,
    /// The initial size of its terminal; `None` gives it pipes.
    pub terminal: Option<WindowSize>,
    /// Whether its standard input is a pipe; otherwise it is `/dev/null`. A terminal is always readable.
    pub open_stdin: bool,
    /// Which system calls it may make, where `profile` does not say.
    #[serde(default)]
    pub seccomp: SeccompPolicy,
    /// The same as an OCI profile, that of the container's specification.
    #[serde(default)]
    pub profile: Option<LinuxSeccomp>,
}

/// A root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay of image layers and a private upper layer.
    Overlay {
        /// The image's layers, topmost first, stored with the ids of the image. Shown to the container through
        /// its id mapping without changing them.
        lower: Vec<PathBuf>,
        /// The writable layer; owned by the container's own id range.
        upper: PathBuf,
        /// Overlayfs' scratch directory, on the same filesystem as `upper` and owned alike.
        work: PathBuf,
    },
    /// A directory used as it is: its owners must already fit the container's id mapping.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Whether the container may write to it.
        read_only: bool,
    },
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// What is kept of a container's output, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPolicy {
    /// In which form.
    #[serde(default)]
    pub driver: LogDriver,
    /// Size at which a log file is rotated, in bytes.
    pub max_bytes: u64,
    /// How many files there are at most, the current one included.
    pub max_files: u32,
    /// Whether somebody compresses the files that are no longer written.
    #[serde(default)]
    pub compress: bool,
    /// Written with each record of [`LogDriver::JsonFile`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// The form of a container's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Frames with a checksum ([`crate::log::compact`]).
    #[default]
    Local,
    /// A JSON object per line, as Docker writes them.
    JsonFile,
    /// Nothing is kept.
    None,
}

impl std::fmt::Display for LogDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LogDriver::Local => "local",
            LogDriver::JsonFile => "json-file",
            LogDriver::None => "none",
        })
    }
}

impl Default for LogPolicy {
    /// Three files of 10 MiB.
    fn default() -> Self {
        LogPolicy {
            driver: LogDriver::default(),
            max_bytes: 10 << 20,
            max_files: 3,
            compress: false,
            attributes: BTreeMap::new(),
        }
    }
}

/// Which system calls the container may make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompPolicy {
    /// Docker's default list, widened by the capabilities the container has.
    #[default]
    Default,
    /// No filter.
    Unconfined,
}
