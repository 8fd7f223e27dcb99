//! What is kept of a container between commands, and what is found out about it by looking.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use super::error::cannot;
use super::hook::HookState;
use super::{OciError, Runtime};
use crate::cgroup::Cgroup;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made.
    Creating,
    /// It waits at its gate.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// A container as the specification shows it, and a little more.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Version of the specification it was made by.
    pub oci_version: String,
    /// Its id.
    pub id: String,
    /// Its process, as the host sees it; zero when it has stopped.
    pub pid: i32,
    /// Where it is in its life.
    pub status: Status,
    /// Its bundle, absolute.
    pub bundle: PathBuf,
    /// Its root filesystem, absolute.
    pub rootfs: PathBuf,
    /// When it was made, RFC 3339.
    pub created: String,
    /// As configured.
    pub annotations: BTreeMap<String, String>,
}

/// A container's state file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// Zero until there is a process.
    pub pid: i32,
    /// When the process started, in the kernel's ticks: tells it from a later one with its number.
    pub started: u64,
    pub cgroup: String,
    /// Whether `create` made the cgroup, which `delete` then removes.
    pub cgroup_made: bool,
    pub created: String,
    pub spec: Spec,
}

/// Name of the record.
const FILE: &str = "state.json";
/// Name of the socket that the first process waits at.
pub(super) const GATE: &str = "gate";

impl Record {
    pub(super) fn write(&self, directory: &Path) -> Result<(), OciError> {
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec(self).map_err(io::Error::from)?;
            let new = directory.join(format!("{FILE}.new"));
            let mut file = std::fs::File::create(&new)?;
            file.write_all(&text)?;
            std::fs::rename(&new, directory.join(FILE))
        };
        write().map_err(cannot(format!("write {}", directory.join(FILE).display())))
    }

    pub(super) fn hook_state(&self) -> HookState {
        HookState {
            oci_version: self.spec.version().clone(),
            id: self.id.clone(),
            bundle: self.bundle.clone(),
            annotations: self.annotations(),
        }
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        self.spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    pub(super) fn cgroup(&self) -> Result<Cgroup, OciError> {
        Ok(Cgroup::open(&self.cgroup)?)
    }

    /// A descriptor of its process, if that still is the one it was and has not ended.
    pub(super) fn process(&self) -> Option<OwnedFd> {
        let pidfd = rustix::process::pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        match start_time(self.pid) {
            Some((started, false)) if started == self.started => Some(pidfd),
            _ => None,
        }
    }
}

/// When process `pid` started, and whether it has ended already. `None`: there is none.
pub(super) fn start_time(pid: i32) -> Option<(u64, bool)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, the last parenthesis ends it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    let started = fields.nth(18)?.parse().ok()?;
    Some((started, ended))
}

impl Runtime {
    pub(super) fn load(&self, id: &str) -> Result<Record, OciError> {
        check_id(id)?;
        let path = self.directory(id).join(FILE);
        let text = match super::bundle::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OciError::Missing(id.to_owned()));
            }
            other => other.map_err(cannot(format!("read {}", path.display())))?,
        };
        serde_json::from_slice(&text).map_err(|error| OciError::Config { path, reason: error.to_string() })
    }

    pub(super) fn status_of(&self, record: &Record) -> Result<Status, OciError> {
        if record.pid == 0 {
            return Ok(Status::Creating);
        }
        if record.process().is_none() {
            return Ok(Status::Stopped);
        }
        if self.directory(&record.id).join(GATE).exists() {
            return Ok(Status::Created);
        }
        let frozen = record.cgroup()?.is_frozen();
        Ok(if frozen { Status::Paused } else { Status::Running })
    }

    /// The state of one container.
    pub fn state(&self, id: &str) -> Result<View, OciError> {
        let record = self.load(id)?;
        self.view(&record)
    }

    fn view(&self, record: &Record) -> Result<View, OciError> {
        let status = self.status_of(record)?;
        Ok(View {
            oci_version: record.spec.version().clone(),
            id: record.id.clone(),
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status,
            bundle: record.bundle.clone(),
            rootfs: record.rootfs.clone(),
            created: record.created.clone(),
            annotations: record.annotations(),
        })
    }

    /// All containers below the root, by id.
    pub fn list(&self) -> Result<Vec<View>, OciError> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(cannot(format!("list {}", self.root.display())))?,
        };
        let mut views = Vec::new();
        for entry in entries {
            let entry = entry.map_err(cannot(format!("list {}", self.root.display())))?;
            // One that is being made or removed at this moment is in no list yet or any more.
            if let Ok(view) = self.state(&entry.file_name().to_string_lossy()) {
                views.push(view);
            }
        }
        views.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(views)
    }
}

/// Whether `id` can be a container's.
pub(super) fn check_id(id: &str) -> Result<(), OciError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    if id.is_empty() || id.len() > 1024 || id.starts_with('.') || !id.chars().all(good) {
        return Err(OciError::Id(id.to_owned()));
    }
    Ok(())
}
