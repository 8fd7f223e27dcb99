//! The data directory of `ctl dev`: who keeps what where.

use std::path::{Path, PathBuf};

use crate::error::{CommandError, Kind};

/// Marks a directory as one that `ctl dev --reset` may empty.
const MARKER: &str = "roadstead-dev";
/// A unix socket's path ends at 108 bytes, and the longest one here adds this much.
const LONGEST_PATH: usize = 108 - "/run/keeper.sock".len() - 1;

/// The paths below one data directory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The data directory itself, absolute.
    pub(super) root: PathBuf,
}

impl Layout {
    /// The layout of `root`.
    ///
    /// # Errors
    /// When the path is too long for the sockets in it.
    pub(super) fn new(root: &Path) -> Result<Self, CommandError> {
        let root = std::path::absolute(root).map_err(|error| {
            CommandError::new(Kind::Environment, format!("data directory {}: {error}", root.display()))
        })?;
        if root.as_os_str().len() > LONGEST_PATH {
            let text = format!(
                "the path of the data directory is longer than {LONGEST_PATH} bytes: {}",
                root.display()
            );
            return Err(CommandError::new(Kind::Environment, text)
                .hint("unix sockets live in it; choose a shorter one"));
        }
        Ok(Self { root })
    }

    /// Makes the directory and marks it.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn create(&self) -> Result<(), CommandError> {
        use std::os::unix::fs::DirBuilderExt;
        let make = || -> std::io::Result<()> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.logs())?;
            std::fs::write(self.marker(), "the data of one `ctl dev` cluster; `ctl dev --reset` empties it\n")
        };
        make().map_err(|error| {
            CommandError::new(Kind::Environment, format!("cannot write to {}: {error}", self.root.display()))
                .hint("choose another place:  ctl dev --data-dir DIR")
        })
    }

    /// The marker file.
    pub(super) fn marker(&self) -> PathBuf {
        self.root.join(MARKER)
    }
    /// Logs of the two programs.
    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }
    /// The controller's data.
    pub(super) fn controller(&self) -> PathBuf {
        self.root.join("controller")
    }
    /// The agent's data.
    pub(super) fn agent(&self) -> PathBuf {
        self.root.join("agent")
    }
    /// Sockets and network namespaces.
    pub(super) fn run(&self) -> PathBuf {
        self.root.join("run")
    }
    /// A file of the admin's client certificate.
    pub(super) fn admin(&self, file: &str) -> PathBuf {
        self.controller().join("admin").join(file)
    }
    /// Where the agent answers.
    pub(super) fn agent_socket(&self) -> PathBuf {
        self.run().join("agent.sock")
    }
    /// Whether the agent already has an identity in this cluster: it writes this file last.
    pub(super) fn joined(&self) -> bool {
        self.agent().join("identity/node.pem").exists()
    }
}
