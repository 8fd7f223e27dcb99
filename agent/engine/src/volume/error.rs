//! What can go wrong with volumes, in words for the person at the terminal.

use std::path::PathBuf;

use crate::records::RecordsError;

/// Why a volume was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// There is no such volume.
    #[error("no volume {0:?}; `ctl volume ls` shows those on this host")]
    NotFound(String),
    /// The name is none.
    #[error(
        "volume name {0:?} is not allowed: 2 to 200 letters, digits, '_', '.' and '-', beginning with a letter or \
         digit; to bind a directory of the host, give its absolute path"
    )]
    Name(String),
    /// There is one with other options.
    #[error("volume {name} exists with other options; remove it first or choose another name")]
    Exists {
        /// Its name.
        name: String,
    },
    /// Containers have it.
    #[error(
        "volume {name} is in use by container {}; remove {} first", containers.join(", "),
        if containers.len() == 1 { "it" } else { "them" }
    )]
    InUse {
        /// Its name.
        name: String,
        /// The names of the containers.
        containers: Vec<String>,
    },
    /// An option of the driver breaks a rule.
    #[error("volume {name}: {rule}")]
    Option {
        /// The volume.
        name: String,
        /// Which rule, with the value.
        rule: String,
    },
    /// The file system cannot limit a directory.
    #[error("volume {name}: its size cannot be limited: {reason}")]
    NoQuota {
        /// The volume.
        name: String,
        /// What is missing.
        reason: String,
    },
    /// A path inside a volume or image is not there or is not plain.
    #[error("subpath {path:?}: {reason}")]
    Subpath {
        /// The path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The host refused.
    #[error("{action} {}: {source}", path.display())]
    Host {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's word.
        source: std::io::Error,
    },
    /// The records of this engine.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    Interrupted,
}
