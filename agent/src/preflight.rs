//! Looks whether this host can run an agent, before anything is touched. Each
//! thing that is missing is one line that says what to do, and has its own exit
//! code, so that whatever started the agent can tell them apart.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use agent_engine::CgroupLayout;

use crate::config::Config;

/// What keeps the agent from running here.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// Namespaces, mounts and cgroups need it.
    #[error("the agent must run as root; start it with sudo")]
    NotRoot,
    /// Images are stacked with it.
    #[error("this kernel has no overlayfs; load it with `modprobe overlay`, or use a kernel that has it")]
    NoOverlay,
    /// Limits are enforced with them.
    #[error("no cgroup hierarchy with the memory and pids controllers is mounted at /sys/fs/cgroup; {0}")]
    NoCgroups(&'static str),
    /// A directory that cannot be used.
    #[error("cannot write to the {what} {path}: {source}; choose another with {flag}", path = path.display())]
    NotWritable {
        /// "data directory" or "run directory".
        what: &'static str,
        /// Which one.
        path: PathBuf,
        /// The flag that sets it.
        flag: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// Another agent has locked it.
    #[error("another agent uses the {what} {path}; stop that one, or choose another with {flag}", path = path.display())]
    InUse {
        /// "data directory" or "run directory".
        what: &'static str,
        /// Which one.
        path: PathBuf,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// Another process listens there.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// As asked for.
        address: SocketAddr,
        /// The kernel's word.
        source: io::Error,
    },
}

impl Obstacle {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotRoot => 10,
            Self::NoOverlay => 11,
            Self::NoCgroups(_) => 12,
            Self::NotWritable { .. } => 13,
            Self::InUse { .. } => 14,
            Self::Listen { .. } => 15,
        }
    }
}

/// What the agent holds for as long as it runs.
#[derive(Debug)]
pub struct Held {
    _locks: [File; 2],
    /// Where the Node API will be served; nothing is accepted yet.
    pub listener: Option<TcpListener>,
}

/// Looks at the host, then takes what only one agent can have. The listener is
/// taken only if `listen`, because an agent in no cluster serves nobody there.
///
/// # Errors
/// The first obstacle.
pub fn check(config: &Config, listen: bool) -> Result<Held, Obstacle> {
    if !is_root(&read("/proc/self/status")) {
        return Err(Obstacle::NotRoot);
    }
    check_overlay()?;
    check_cgroups()?;
    let listener = listen.then(|| bind(config.listen)).transpose()?;
    let locks = [
        take(&config.data_dir, "data directory", "--data-dir")?,
        take(&config.run_dir, "run directory", "--run-dir")?,
    ];
    Ok(Held { _locks: locks, listener })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Whether the effective user in /proc/PID/status is 0.
fn is_root(status: &str) -> bool {
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    uids.split_whitespace().nth(1) == Some("0")
}

fn check_overlay() -> Result<(), Obstacle> {
    if has_word(&read("/proc/filesystems"), "overlay") {
        return Ok(());
    }
    // Not loaded, but the kernel loads it at the first mount if it is there.
    let modules = format!("/lib/modules/{}/modules.dep", read("/proc/sys/kernel/osrelease").trim());
    if read(&modules).contains("/overlay.ko") { Ok(()) } else { Err(Obstacle::NoOverlay) }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|found| found == word)
}

fn check_cgroups() -> Result<(), Obstacle> {
    let Ok(layout) = CgroupLayout::detect() else {
        return Err(Obstacle::NoCgroups("mount cgroup2 there, or the v1 controllers below it"));
    };
    if ["memory", "pids"].iter().all(|controller| layout.provides(controller)) {
        Ok(())
    } else {
        Err(Obstacle::NoCgroups("enable both on the kernel's command line"))
    }
}

/// "v1", "v2" or "hybrid"; `None` on a host without cgroups.
pub fn cgroup_version() -> Option<&'static str> {
    CgroupLayout::detect().ok().map(|layout| layout.version())
}

fn bind(address: SocketAddr) -> Result<TcpListener, Obstacle> {
    let failed = |source| Obstacle::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Makes the directory if it is missing and locks it against other agents.
fn take(directory: &Path, what: &'static str, flag: &'static str) -> Result<File, Obstacle> {
    let path = directory.to_owned();
    let failed = |source| Obstacle::NotWritable { what, path: path.clone(), flag, source };
    fs::DirBuilder::new().recursive(true).mode(0o711).create(directory).map_err(failed)?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join("agent.lock"))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Obstacle::InUse { what, path: directory.to_owned(), flag }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_user_decides_who_is_root() {
        assert!(is_root("Name:\tx\nUid:\t1000\t0\t0\t0\n"));
        assert!(!is_root("Name:\tx\nUid:\t0\t1000\t1000\t1000\n"));
        assert!(!is_root(""));
    }

    #[test]
    fn a_directory_belongs_to_one_agent_until_that_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run");
        let first = take(&path, "run directory", "--run-dir").unwrap();
        let second = take(&path, "run directory", "--run-dir").unwrap_err();
        assert_eq!(second.exit_code(), 14);
        assert!(second.to_string().contains("--run-dir"));
        drop(first);
        take(&path, "run directory", "--run-dir").unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = take(&file.path().join("data"), "data directory", "--data-dir").unwrap_err();
        assert_eq!(error.exit_code(), 13);
    }

    #[test]
    fn an_address_that_is_taken_is_refused() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(taken.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.exit_code(), 15);
        assert!(error.to_string().contains("--listen"), "{error}");
    }
}
