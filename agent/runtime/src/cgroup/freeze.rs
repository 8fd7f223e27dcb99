//! Freezing: the processes of a cgroup stop where they are, and go on later as if nothing had been. The kernel
//! remembers it, so whoever asks later learns it from there and nobody has to write it down.

use std::io;
use std::time::{Duration, Instant};

use super::layout::Hierarchy;
use super::{Cgroup, CgroupError, files};

/// How long the processes of a cgroup may take to stop; one that sleeps in the kernel may take longer.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

impl Cgroup {
    /// Stops every process in it and below, and answers when they have stopped.
    ///
    /// # Errors
    /// When it does not exist, or a process does not stop in time; all of them go on then.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        let hierarchy = self.layout.of("freezer").ok_or(CgroupError::None)?;
        let frozen = self.freeze_in(hierarchy);
        if frozen.is_err() {
            // Half of a container must not stand still.
            let _ = self.order(hierarchy, false);
        }
        frozen.map_err(|source| self.failed("freeze", hierarchy, source))
    }

    /// Lets its processes go on.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        let hierarchy = self.layout.of("freezer").ok_or(CgroupError::None)?;
        self.order(hierarchy, false).map_err(|source| self.failed("thaw", hierarchy, source))
    }

    /// Whether its processes were told to stop and not to go on.
    pub fn is_frozen(&self) -> bool {
        let Some(hierarchy) = self.layout.of("freezer") else { return false };
        let (file, running) =
            if hierarchy.is_v2() { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        files::read(hierarchy, &format!("{}/{file}", self.path)).is_ok_and(|text| text.trim() != running)
    }

    /// A frozen process of version 1 does not even die before it goes on.
    pub(super) fn let_die(&self) {
        if let Some(hierarchy) = self.layout.of_v1("freezer") {
            // Gone is as good.
            let _ = self.order(hierarchy, false);
        }
    }

    fn freeze_in(&self, hierarchy: &Hierarchy) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            // Version 1 gives up on what forks meanwhile: it is told again.
            self.order(hierarchy, true)?;
            if self.has_stopped(hierarchy)? {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "a process of it does not stop"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn order(&self, hierarchy: &Hierarchy, freeze: bool) -> io::Result<()> {
        let (file, value) = match (hierarchy.is_v2(), freeze) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        files::write(hierarchy, &format!("{}/{file}", self.path), value)
    }

    fn has_stopped(&self, hierarchy: &Hierarchy) -> io::Result<bool> {
        let (file, stopped) =
            if hierarchy.is_v2() { ("cgroup.events", "frozen 1") } else { ("freezer.state", "FROZEN") };
        let text = files::read(hierarchy, &format!("{}/{file}", self.path))?;
        Ok(text.lines().any(|line| line.trim() == stopped))
    }
}
