//! The OCI runtime: containers from bundles, for engines that bring their own.
//!
//! There is no keeper here. `create` forks the container's first process, which sets everything up and then waits
//! at its **gate**, a socket in the container's state directory; the command that made it ends. `start` connects to
//! the gate. What later commands need to know is in a **record**, `<root>/<id>/state.json`; whether a container
//! runs is never recorded but looked at.
//!
//! The caller is trusted, as with every OCI runtime: hooks are run, namespaces are joined by path. The steps and
//! their order are planned by [`crate::plan::oci`].
//!
//! Deliberately absent: output, logs, exit codes. They are the caller's, whose standard streams the container gets.

mod bundle;
mod console;
mod create;
mod error;
mod exec;
mod features;
pub(crate) mod hook;
mod init;
mod lifecycle;
mod namespace;
mod record;
mod seal;
mod update;
mod words;

use std::path::{Path, PathBuf};

pub use console::{Console, relay};
pub use create::{Create, Created};
pub use error::OciError;
pub use exec::Exec;
pub use features::features;
pub use record::{Status, View};
pub use seal::sealed_again;
pub use words::{example, rfc3339, signal_number, wait_for};

pub use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, Process};

/// The specification's version that is carried out.
pub const VERSION: &str = "1.2.0";

/// The containers below one root directory.
#[derive(Debug, Clone)]
pub struct Runtime {
    root: PathBuf,
}

impl Runtime {
    /// Containers are recorded below `root`, which is made when the first one is.
    pub fn new(root: &Path) -> Runtime {
        Runtime { root: root.to_owned() }
    }

    fn directory(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }
}
