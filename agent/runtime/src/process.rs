//! Making a container's first process, and letting it go.
//!
//! [`create`] runs in the keeper, which has **one thread**: the child is a copy of it made by `clone3` and runs
//! Rust until it executes the container's program. [`spawn`] is the keeper's side, [`init`] the child's, and
//! [`channel`] is what they talk through, with the closed set of words in [`message`].
//!
//! Deliberately absent: waiting for the process to end, its logs, its exit code. They are the keeper's.

pub(crate) mod channel;
mod clone;
pub(crate) mod exec;
pub(crate) mod fork;
mod init;
mod init_loop;
pub(crate) mod join;
pub(crate) mod message;
mod spawn;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};

use crate::cgroup::{Cgroup, CgroupError, Layout};
use crate::container::ContainerSpec;
use crate::execute::StepError;
use crate::plan::{Namespaces, PlanError};
use crate::seccomp::{FilterCache, ProfileError};
use channel::KeeperEnd;
use message::{FromInit, ToInit};

/// What the keeper prepares once and uses for every container.
///
/// Open it after the keeper has entered its own mount namespace, which must show `/proc`, `/sys`, `/dev` and the
/// cgroup hierarchies in full: it holds descriptors of that namespace.
#[derive(Debug)]
pub struct Staging {
    /// Where image layers are attached for a moment, on kernels that do not take them by descriptor.
    layers: PathBuf,
    layout: Arc<Layout>,
    filters: FilterCache,
    /// This process's own network namespace.
    home: OwnedFd,
    /// This process's own process id namespace.
    home_pids: OwnedFd,
    /// Signals this process was started with as ignored, which its containers must not inherit.
    ignored_signals: u64,
}

impl Staging {
    /// Opens the staging directory `directory`, which is made when it is missing (mode 0700), and looks for the
    /// host's cgroup hierarchies.
    pub fn open(directory: &Path) -> Result<Staging, CreateError> {
        let layers = directory.join("layers");
        let failed = |step: &str, object: &Path, source: io::Error| CreateError::Step {
            step: step.to_owned(),
            object: object.display().to_string(),
            source,
        };
        for path in [directory, &layers] {
            match rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(failed("make-staging", path, error.into())),
            }
        }
        // The child puts its streams there: nothing else may be.
        for number in 0..3 {
            let path = format!("/proc/self/fd/{number}");
            rustix::fs::readlinkat(CWD, path.as_str(), Vec::new()).map_err(|_| {
                CreateError::Invalid(format!("descriptor {number} of the keeper must be open"))
            })?;
        }
        let layout = Arc::new(Layout::detect()?);
        let namespace = |step: &str, path: &str| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, path, flags, Mode::empty())
                .map_err(|error| failed(step, Path::new(path), error.into()))
        };
        let home = namespace("open-network", "/proc/self/ns/net")?;
        let home_pids = namespace("open-process-ids", "/proc/self/ns/pid")?;
        let status = Path::new("/proc/self/status");
        let ignored_signals =
            rustix::fs::openat(CWD, status, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(io::Error::from)
                .and_then(|file| crate::cgroup::read_text(&file))
                .map(|text| crate::sys::signal::ignored(&text))
                .map_err(|error| failed("read-status", status, error))?;
        Ok(Staging { layers, layout, filters: FilterCache::default(), home, home_pids, ignored_signals })
    }
}

/// A container whose first process waits at the gate.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id, as the host sees it.
    pub pid: i32,
    /// A descriptor of the process (readable once it ended).
    pub pidfd: OwnedFd,
    /// Write end of its standard input, if `open_stdin` and no terminal.
    pub stdin: Option<OwnedFd>,
    /// Read end of its standard output; `None` with a terminal.
    pub stdout: Option<OwnedFd>,
    /// Read end of its standard error; `None` with a terminal.
    pub stderr: Option<OwnedFd>,
    /// Master side of its terminal.
    pub terminal: Option<OwnedFd>,
    /// Lets it go.
    pub gate: Gate,
    /// Where it lives.
    pub cgroup: Cgroup,
    /// Which namespaces are its own; what [`join`] needs to know.
    pub namespaces: Namespaces,
    /// How long each step took, in microseconds.
    pub timings: Vec<(String, u64)>,
}

/// As [`create`], with the mounts that the specification names by number.
pub fn create_with(
    spec: &ContainerSpec,
    netns: Option<BorrowedFd<'_>>,
    mounts: Vec<OwnedFd>,
    staging: &Staging,
) -> Result<Spawned, CreateError> {
    spawn::create(spec, netns, mounts, staging)
}

/// Makes everything up to, not including, the execution of the program. On error nothing is left behind.
pub fn create(
    spec: &ContainerSpec,
    netns: Option<BorrowedFd<'_>>,
    staging: &Staging,
) -> Result<Spawned, CreateError> {
    spawn::create(spec, netns, Vec::new(), staging)
}

pub use join::{JoinError, Joining, Progress, join};
pub use spawn::Ends;

/// Holds the container's process back until it is opened. Dropped unopened, the process ends.
#[derive(Debug)]
pub struct Gate {
    channel: KeeperEnd,
    program: String,
}

impl Gate {
    /// Lets the process execute its program; returns when it has, or with the reason why it could not (it has
    /// ended then and is to be reaped like any other).
    pub fn open(self) -> Result<(), StartError> {
        let lost = |source| StartError::Lost { source };
        self.channel.send(&ToInit::Go, &[]).map_err(lost)?;
        match self.channel.receive().map_err(lost)? {
            None => Ok(()),
            Some((FromInit::NotExecuted { found: false, .. }, _)) => {
                Err(StartError::NotFound { program: self.program })
            }
            Some((FromInit::NotExecuted { errno, .. }, _)) => Err(StartError::NotExecutable {
                program: self.program,
                source: io::Error::from_raw_os_error(errno),
            }),
            Some(_) => Err(lost(io::ErrorKind::InvalidData.into())),
        }
    }
}

/// Why a container could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The specification asks for something wrong or unsupported.
    #[error("{0}")]
    Invalid(String),
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
        source: std::io::Error,
    },
}

impl From<PlanError> for CreateError {
    fn from(error: PlanError) -> Self {
        CreateError::Invalid(error.to_string())
    }
}

impl From<ProfileError> for CreateError {
    fn from(error: ProfileError) -> Self {
        CreateError::Invalid(error.to_string())
    }
}

impl From<StepError> for CreateError {
    fn from(StepError { step, object, source }: StepError) -> Self {
        CreateError::Step { step, object, source }
    }
}

/// Why a container's program could not be executed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such program.
    #[error("no program {program:?} in the container")]
    NotFound {
        /// As asked for.
        program: String,
    },
    /// There is one, but it cannot be executed.
    #[error("the program {program:?} cannot be executed: {source}")]
    NotExecutable {
        /// As asked for.
        program: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The process ended or the channel to it broke before it got there.
    #[error("the container's process was lost before it ran its program: {source}")]
    Lost {
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl StartError {
    /// The exit code shells and Docker give such a container: 127, 126, or 128 when it was lost.
    pub fn exit_code(&self) -> i32 {
        match self {
            StartError::NotFound { .. } => 127,
            StartError::NotExecutable { .. } => 126,
            StartError::Lost { .. } => 128,
        }
    }
}
