//! What only the OCI command line does with cgroups: their paths are the caller's, who may have made them already
//! and put limits or other containers beside.

use std::io;

use super::layout::Hierarchy;
use super::{Cgroup, CgroupError, files};

impl Cgroup {
    /// Makes it where it is missing, and leaves what is there as it is. Says whether any part was missing.
    pub(crate) fn adopt(&self) -> Result<bool, CgroupError> {
        let mut made = false;
        super::readable(|| {
            for hierarchy in self.layout.hierarchies() {
                made |= self.adopt_in(hierarchy).map_err(|source| self.failed("make", hierarchy, source))?;
            }
            Ok(made)
        })
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
}
