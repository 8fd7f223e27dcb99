//! What can go wrong in the engine, in words for the person at the terminal.
//! Errors of the layers below keep their own type and are wrapped here.

use std::path::PathBuf;

use agent_runtime::cgroup::CgroupError;

use crate::container::ContainerState;
use crate::image::PullError;
use crate::network::NetworkError;
use crate::records::RecordsError;
use crate::snapshot::SnapshotError;
use crate::volume::VolumeError;

/// Why the engine refused or failed. `#[source]` chains end at the kernel's word.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Neither id, unique prefix, name nor task.
    #[error("no container {0:?}; `ctl container ls --all` shows those on this host")]
    NoSuchContainer(String),
    /// A prefix that several ids share.
    #[error("{0:?} is the beginning of {1} container ids; give more of it")]
    Ambiguous(String, usize),
    /// The name belongs to another container.
    #[error("the name {name:?} is taken by container {id}; remove that one or choose another name")]
    NameTaken {
        /// The name asked for.
        name: String,
        /// First 12 digits of the holder's id.
        id: String,
    },
    /// A field of the request breaks a rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// The field of the request.
        field: &'static str,
        /// Which rule, with the values.
        rule: String,
    },
    /// The image is not on this host.
    #[error("image {0} is not on this host; pull it first")]
    NoSuchImage(String),
    /// The verb does not fit the state.
    #[error("container {id} is {state}: {needs}")]
    State {
        /// First 12 digits of the id.
        id: String,
        /// Where it is in its life.
        state: ContainerState,
        /// What the verb needs instead.
        needs: &'static str,
    },
    /// It was made to keep none of its output.
    #[error(
        "container {0} keeps no log: it was made with the log driver none. `ctl container attach` shows what it writes \
         from now on; one made with --log-driver local or json-file keeps it"
    )]
    NoLog(String),
    /// The container's program could not be run, or its confinement not made.
    #[error("cannot start container {id}: {reason}")]
    Start {
        /// First 12 digits of the id.
        id: String,
        /// The step and the kernel's word.
        reason: String,
        /// What shells and Docker exit with for it: 127 when the program is not
        /// there, 126 when it cannot be executed, else 125.
        exit_code: i32,
    },
    /// There is no such further process.
    #[error("no process {0:?} was run in a container here, or its end is long forgotten")]
    NoSuchExec(String),
    /// A program could not be run in a running container.
    #[error("cannot run it in container {id}: {reason}")]
    Exec {
        /// First 12 digits of the container's id.
        id: String,
        /// The step and the kernel's word.
        reason: String,
        /// As for [`EngineError::Start`].
        exit_code: i32,
    },
    /// The keeper answered with an error, or not at all.
    #[error("keeper: {0}")]
    Keeper(String),
    /// The keeper that runs speaks another protocol.
    #[error(
        "the keeper that runs (process {pid}) speaks protocol {theirs}, this agent {ours}: its containers keep running, \
         but to manage them start the agent version that started it, or end its containers with `kill {pid}` and start anew"
    )]
    KeeperVersion {
        /// The keeper's process.
        pid: i32,
        /// Its protocol.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// Images.
    #[error(transparent)]
    Image(#[from] PullError),
    /// Files of containers.
    #[error(transparent)]
    Files(#[from] crate::files::FilesError),
    /// Volumes.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// Snapshots.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Networks and published ports.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Cgroups of containers.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The records of this engine.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// A file of the engine.
    #[error("{action} {path}: {source}")]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The kernel's word.
        source: std::io::Error,
    },
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    Closed,
}

impl EngineError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        EngineError::File { action, path: path.into(), source }
    }

    pub(crate) fn invalid(field: &'static str, rule: impl Into<String>) -> Self {
        EngineError::Invalid { field, rule: rule.into() }
    }
}
