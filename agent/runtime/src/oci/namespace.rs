//! Being in other namespaces for the time of a clone.
//!
//! Namespaces of process ids and of time take effect for children only; the others this process really enters,
//! and leaves again before it runs anything for its caller.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::OciError;
use super::error::cannot;
use crate::plan::oci::namespace::{Planned, TIME};
use crate::sys::task::{set_namespace, unshare};

/// Where this process is at home, by flag.
#[derive(Debug)]
pub(super) struct Visit {
    home: Vec<(u64, OwnedFd)>,
}

/// The name of a namespace in `/proc/PID/ns`.
fn name(flag: u64) -> &'static str {
    let is = |bit: libc::c_int| flag == u64::from(bit.unsigned_abs());
    match flag {
        TIME => "time",
        _ if is(libc::CLONE_NEWPID) => "pid",
        _ if is(libc::CLONE_NEWNET) => "net",
        _ if is(libc::CLONE_NEWIPC) => "ipc",
        _ if is(libc::CLONE_NEWUTS) => "uts",
        _ if is(libc::CLONE_NEWCGROUP) => "cgroup",
        _ => "mnt",
    }
}

/// Opens the namespace at `path`.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

impl Visit {
    /// Enters what `planned` says by path, and makes a new time namespace if it wants one.
    pub(super) fn enter(planned: &Planned) -> Result<Visit, OciError> {
        let mut visit = Visit { home: Vec::new() };
        for (flag, path) in &planned.join {
            let action = || format!("join the namespace {}", path.display());
            let namespace = open(path).map_err(cannot(action()))?;
            visit.enter_one(*flag, &namespace).map_err(cannot(action()))?;
        }
        if let Some(offsets) = &planned.time {
            visit.new_time(offsets).map_err(cannot("make a time namespace"))?;
        }
        Ok(visit)
    }

    pub(super) fn enter_one(&mut self, flag: u64, namespace: &OwnedFd) -> io::Result<()> {
        let own = open(Path::new(&format!("/proc/self/ns/{}", name(flag))))?;
        set_namespace(namespace.as_fd(), flag)?;
        self.home.push((flag, own));
        Ok(())
    }

    pub(super) fn none() -> Visit {
        Visit { home: Vec::new() }
    }

    /// The first process to enter a time namespace fixes its clocks, so they are set before there is one.
    fn new_time(&mut self, offsets: &str) -> io::Result<()> {
        let own = open(Path::new("/proc/self/ns/time"))?;
        unshare(TIME)?;
        self.home.push((TIME, own));
        if !offsets.is_empty() {
            std::fs::write("/proc/self/timens_offsets", offsets)?;
        }
        Ok(())
    }

    /// Goes home, and says when that failed: nothing may be done from somewhere else.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        while let Some((flag, home)) = self.home.pop() {
            set_namespace(home.as_fd(), flag)?;
        }
        Ok(())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // Only on the way out of another error, after which this process ends.
        let _ = self.leave();
    }
}
