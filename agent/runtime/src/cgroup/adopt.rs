//! What only the OCI command line does with cgroups: their paths are the caller's, who may have made them already
//! and put limits or other containers beside; and it freezes.

use std::io;
use std::time::{Duration, Instant};

use super::layout::Hierarchy;
use super::{Cgroup, CgroupError, files};

/// How long a cgroup may take to freeze.
const PATIENCE: Duration = Duration::from_secs(2);

impl Cgroup {
    /// Makes it where it is missing, and leaves what is there as it is. Says whether any part was missing.
    pub(crate) fn adopt(&self) -> Result<bool, CgroupError> {
        let mut made = false;
        for hierarchy in self.layout.hierarchies() {
            made |= self.adopt_in(hierarchy).map_err(|source| self.failed("make", hierarchy, source))?;
        }
        Ok(made)
    }

    fn adopt_in(&self, hierarchy: &Hierarchy) -> io::Result<bool> {
        let made = match files::make(hierarchy, &self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                files::make_parents(hierarchy, &self.path)?;
                files::make(hierarchy, &self.path).map(|()| true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            made => made.map(|()| true),
        }?;
        if hierarchy.has("cpuset") {
            let above = self.path.rsplit_once('/').map_or(".", |(above, _)| above);
            files::inherit_cpuset(hierarchy, above, &self.path)?;
        }
        Ok(made)
    }

    /// Freezes every process in it, or lets them go on; returns when that is so.
    pub(crate) fn freeze(&self, frozen: bool) -> io::Result<()> {
        let (hierarchy, file, word) = match (self.layout.of_v1("freezer"), self.layout.v2()) {
            (Some(v1), _) => (v1, "freezer.state", if frozen { "FROZEN" } else { "THAWED" }),
            (None, Some(v2)) => (v2, "cgroup.freeze", if frozen { "1" } else { "0" }),
            (None, None) => return Err(io::Error::new(io::ErrorKind::Unsupported, "the host cannot freeze")),
        };
        files::write(hierarchy, &format!("{}/{file}", self.path), word)?;
        let until = Instant::now() + PATIENCE;
        while self.frozen()? != frozen {
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether its processes are frozen; one that does not exist is not.
    pub(crate) fn frozen(&self) -> io::Result<bool> {
        let text = match (self.layout.of_v1("freezer"), self.layout.v2()) {
            (Some(v1), _) => files::read(v1, &format!("{}/freezer.state", self.path)),
            (None, Some(v2)) => files::read(v2, &format!("{}/cgroup.events", self.path)),
            (None, None) => return Ok(false),
        };
        match text {
            Ok(text) => Ok(text.trim() == "FROZEN" || text.lines().any(|line| line == "frozen 1")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
