//! A container's cgroups: one directory in each hierarchy the host has.
//!
//! Version 2 alone, version 1 alone and the mixture of both ("hybrid") look alike from here: [`layout`] finds the
//! hierarchies by reading `/proc/self/mountinfo`, and everything else is a loop over them. Whatever changes something
//! writes the kernel's files, relative to a descriptor of the hierarchy's root; [`usage`] reads what they count.
//!
//! A [`Cgroup`] holds no descriptor of its own, so a keeper of thousands of containers does not either.

mod adopt;
mod change;
mod device_filter;
mod favor;
mod files;
mod freeze;
mod layout;
mod real_time;
mod usage;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

pub use change::Change;
pub use favor::Favor;
pub(crate) use files::read_all as read_text;
use layout::Hierarchy;
pub use layout::Layout;
pub use usage::{BlockIo, Usage};

use crate::plan::step::DeviceRule;

/// How long a removal waits for dying processes.
const PATIENCE: Duration = Duration::from_secs(2);
/// Deepest tree a container may have left below its cgroup.
const DEPTH: u32 = 16;

/// The cgroups of one container, one directory per hierarchy.
#[derive(Debug, Clone)]
pub struct Cgroup {
    layout: Arc<Layout>,
    /// Below each hierarchy's root, without a leading slash.
    path: String,
}

/// Why a cgroup operation failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The path is not one.
    #[error("{path:?} is not a cgroup path: an absolute path without '..' is needed")]
    Path {
        /// As given.
        path: String,
    },
    /// The host has no cgroup hierarchy this process can see.
    #[error("no cgroup hierarchy is mounted; mount cgroup2 on /sys/fs/cgroup")]
    None,
    /// A limit cannot be so.
    #[error("cannot set {file} to {value}: {source}")]
    Limit {
        /// Which one.
        file: &'static str,
        /// What it was to be.
        value: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("cannot {action} the cgroup {object}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Cgroup {
    /// A handle of the container's cgroup `path` (`/roadstead/<instance>/<id>`), which need not exist.
    pub fn open(path: &str) -> Result<Cgroup, CgroupError> {
        static LAYOUT: OnceLock<Arc<Layout>> = OnceLock::new();
        let layout = match LAYOUT.get() {
            Some(layout) => Arc::clone(layout),
            None => {
                let found = Arc::new(Layout::detect()?);
                Arc::clone(LAYOUT.get_or_init(|| found))
            }
        };
        Cgroup::open_in(layout, path)
    }

    /// As [`Cgroup::open`], in hierarchies found before.
    pub fn open_in(layout: Arc<Layout>, path: &str) -> Result<Cgroup, CgroupError> {
        let inner = path.strip_prefix('/').unwrap_or_default();
        let good = |part: &str| !part.is_empty() && part != "." && part != "..";
        if inner.contains(['\0', '\n']) || !inner.split('/').all(good) {
            return Err(CgroupError::Path { path: path.to_owned() });
        }
        Ok(Cgroup { layout, path: inner.to_owned() })
    }

    /// Makes it in every hierarchy, with the directories above it. On error nothing of it is left.
    pub(crate) fn create(&self) -> Result<(), CgroupError> {
        readable(|| {
            self.layout.hierarchies().iter().try_for_each(|hierarchy| {
                self.create_in(hierarchy).map_err(|source| {
                    let _ = self.remove();
                    self.failed("make", hierarchy, source)
                })
            })
        })
    }

    fn create_in(&self, hierarchy: &Hierarchy) -> io::Result<()> {
        match files::make(hierarchy, &self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                files::make_parents(hierarchy, &self.path)?;
                files::make(hierarchy, &self.path)
            }
            // Left by a container of the same id that was cut short; with a process in it this fails.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                files::remove(hierarchy, &self.path)?;
                files::make(hierarchy, &self.path)
            }
            other => other,
        }
    }

    /// Writes one file of a controller.
    pub(crate) fn set(&self, controller: &str, file: &str, value: &str) -> io::Result<()> {
        let hierarchy = self.layout.of(controller).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                format!("the host has no {controller} cgroup controller"),
            )
        })?;
        files::write(hierarchy, &format!("{}/{file}", self.path), value)
    }

    /// Reads one file of a controller.
    pub(crate) fn get(&self, controller: &str, file: &str) -> io::Result<String> {
        let hierarchy = self.layout.of(controller).ok_or(io::ErrorKind::NotFound)?;
        files::read(hierarchy, &format!("{}/{file}", self.path))
    }

    /// Restricts which devices its processes may open.
    pub(crate) fn limit_devices(&self, rules: &[DeviceRule]) -> io::Result<()> {
        if let Some(hierarchy) = self.layout.of_v1("devices") {
            return files::write_rules(hierarchy, &self.path, rules);
        }
        let hierarchy = self.layout.v2().ok_or(io::ErrorKind::Unsupported)?;
        let directory = files::open(hierarchy, &self.path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        crate::sys::bpf::attach_device_filter(
            std::os::fd::AsFd::as_fd(&directory),
            &device_filter::program(rules),
        )
    }

    /// Moves the process `pid` into it; hierarchies it was cloned into already are passed over.
    pub(crate) fn enter(&self, pid: i32, cloned_into_v2: bool) -> Result<(), CgroupError> {
        let text = pid.to_string();
        for hierarchy in self.layout.hierarchies() {
            if hierarchy.is_v2() && cloned_into_v2 {
                continue;
            }
            files::write(hierarchy, &format!("{}/cgroup.procs", self.path), &text)
                .map_err(|source| self.failed("enter", hierarchy, source))?;
        }
        Ok(())
    }

    /// Its version 2 directory, for `CLONE_INTO_CGROUP`.
    pub(crate) fn v2_directory(&self) -> Option<io::Result<OwnedFd>> {
        let hierarchy = self.layout.v2()?;
        Some(files::open(hierarchy, &self.path, OFlags::PATH | OFlags::DIRECTORY))
    }

    /// Detached mounts of its version 1 directories, by the names of their mount points.
    pub(crate) fn v1_trees(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        use rustix::mount::{OpenTreeFlags, open_tree};
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let v1 = self.layout.hierarchies().iter().filter(|hierarchy| !hierarchy.is_v2());
        v1.map(|hierarchy| {
            let tree = open_tree(hierarchy.root(), self.path.as_str(), flags)?;
            Ok((hierarchy.name().to_owned(), tree))
        })
        .collect()
    }

    /// Kills every process in it and below; returns at once, they are gone when [`Cgroup::remove`] succeeds.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        if let Some(hierarchy) = self.layout.v2() {
            match files::write(hierarchy, &format!("{}/cgroup.kill", self.path), "1") {
                Ok(()) => {
                    self.let_die();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(self.failed("kill the processes of", hierarchy, source)),
            }
        }
        // No cgroup.kill: a process may be forking, so until a look finds nothing new. A number read here could
        // be somebody else's by now: only what is still listed after its descriptor was opened is killed.
        for _ in 0..100 {
            let mut held = Vec::new();
            for pid in self.processes() {
                if let Some(id) = Pid::from_raw(pid)
                    && let Ok(descriptor) = rustix::process::pidfd_open(id, PidfdFlags::empty())
                {
                    held.push((pid, descriptor));
                }
            }
            let still = self.processes();
            held.retain(|(pid, _)| still.contains(pid));
            if held.is_empty() {
                break;
            }
            for (_, descriptor) in &held {
                // Gone in the meantime is as good.
                let _ = rustix::process::pidfd_send_signal(descriptor, Signal::KILL);
            }
            self.let_die();
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Removes it in all hierarchies; waits up to two seconds for dying processes. Absence is success.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(500);
        for hierarchy in self.layout.hierarchies() {
            loop {
                match files::remove(hierarchy, &self.path) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                        std::thread::sleep(pause);
                        pause = (pause * 2).min(Duration::from_millis(50));
                    }
                    Err(source) => return Err(self.failed("remove", hierarchy, source)),
                }
            }
        }
        Ok(())
    }

    /// Removes it where nothing is below it: neither waits for processes nor touches children, which may be
    /// somebody else's and still without a process.
    pub fn remove_if_empty(&self) {
        for hierarchy in self.layout.hierarchies() {
            // Busy means that it is still needed.
            let _ = files::remove_one(hierarchy, &self.path);
        }
    }

    /// Whether the kernel killed a process of it for want of memory.
    pub fn oom_killed(&self) -> bool {
        let Some(hierarchy) = self.layout.of("memory") else { return false };
        let file = if hierarchy.is_v2() { "memory.events" } else { "memory.oom_control" };
        let text = files::read(hierarchy, &format!("{}/{file}", self.path)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.is_some_and(|count| count.trim() != "0")
    }

    /// The ids of the processes in it, as this process sees them; empty when it does not exist.
    pub fn processes(&self) -> Vec<i32> {
        // Any hierarchy will do: they all hold the same processes.
        let Some(hierarchy) = self.layout.of("pids").or(self.layout.v2()) else { return Vec::new() };
        let text = files::read(hierarchy, &format!("{}/cgroup.procs", self.path)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
    }

    /// As [`Cgroup::processes`], with those in the cgroups below it.
    pub fn all_processes(&self) -> Vec<i32> {
        self.processes_below(DEPTH)
    }

    fn processes_below(&self, depth: u32) -> Vec<i32> {
        let mut found = self.processes();
        if depth > 0 {
            for name in self.children() {
                let below =
                    Cgroup { layout: Arc::clone(&self.layout), path: format!("{}/{name}", self.path) };
                found.extend(below.processes_below(depth - 1));
            }
        }
        found
    }

    /// Names of the cgroups directly below it, in whichever hierarchy, each once.
    pub fn children(&self) -> BTreeSet<String> {
        let below = |hierarchy: &Hierarchy| files::children(hierarchy, &self.path).unwrap_or_default();
        self.layout.hierarchies().iter().flat_map(below).collect()
    }

    /// Whether it exists in any hierarchy.
    pub fn exists(&self) -> bool {
        let exists = |hierarchy: &Hierarchy| {
            rustix::fs::statat(hierarchy.root(), self.path.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
        };
        self.layout.hierarchies().iter().any(exists)
    }

    fn failed(&self, action: &'static str, hierarchy: &Hierarchy, source: io::Error) -> CgroupError {
        let object = Path::new(hierarchy.mount_point()).join(&self.path).display().to_string();
        CgroupError::Io { action, object, source }
    }
}

/// Makes directories with the mode they are to have: programs in a container read their limits there, whoever they
/// run as, so the mask of this process, which has one thread, must not decide.
fn readable<T>(make: impl FnOnce() -> T) -> T {
    let mask = rustix::process::umask(Mode::from_raw_mode(0o022));
    let made = make();
    rustix::process::umask(mask);
    made
}

/// Mode of directories made in a hierarchy.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
