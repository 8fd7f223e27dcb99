//! What can go wrong between a command and its container.

use std::io;
use std::path::PathBuf;

use super::hook::HookError;
use super::record::Status;
use crate::cgroup::CgroupError;
use crate::execute::StepError;
use crate::plan::PlanError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The id is not one.
    #[error("{0:?} is not a container id: use letters, digits and any of -_+. after the first, at most 1024")]
    Id(String),
    /// There is no such container.
    #[error("container {0:?} does not exist")]
    Missing(String),
    /// The id is taken.
    #[error("container with id {0:?} exists already")]
    Exists(String),
    /// What was asked for is not possible in its present state.
    #[error("container {id:?} is {status}: cannot {verb} it")]
    State {
        /// Which.
        id: String,
        /// Its state.
        status: Status,
        /// What was asked for.
        verb: &'static str,
    },
    /// The configuration cannot be read.
    #[error("{path}: {reason}")]
    Config {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The configuration asks for something wrong or unsupported.
    #[error("config.json: {0}")]
    Plan(#[from] PlanError),
    /// Command and configuration do not fit together.
    #[error("{0}")]
    Usage(String),
    /// The cgroups cannot be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A step failed.
    #[error("{step} failed for {object}: {source}")]
    Step {
        /// Which.
        step: String,
        /// On what.
        object: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The program is not in the container.
    #[error("exec: {0:?}: executable file not found in $PATH: no such file or directory")]
    NotFound(String),
    /// The program cannot be executed.
    #[error("exec: {program:?}: {source}")]
    NotExecutable {
        /// Which.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The host refused something.
    #[error("cannot {action}: {source}")]
    Io {
        /// What.
        action: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl From<StepError> for OciError {
    fn from(StepError { step, object, source }: StepError) -> Self {
        OciError::Step { step, object, source }
    }
}

/// For `map_err`.
pub(super) fn cannot<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> OciError {
    let action = action.into();
    move |source| OciError::Io { action, source: source.into() }
}
