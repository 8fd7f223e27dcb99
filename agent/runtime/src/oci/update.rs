//! Changing the resources of a container that runs.

use std::io;

use oci_spec::runtime::LinuxResources;

use super::error::cannot;
use super::record::Status;
use super::{OciError, Runtime};
use crate::cgroup::{Cgroup, Layout};
use crate::plan::oci::resources;
use crate::plan::oci::step::OciHostStep;
use crate::plan::step::HostStep;

impl Runtime {
    /// Sets what `asked` mentions; what it does not stays as it is. Device rules stay too.
    pub fn update(&self, id: &str, asked: &LinuxResources) -> Result<(), OciError> {
        let record = self.load(id)?;
        let status = self.status_of(&record)?;
        if matches!(status, Status::Stopped | Status::Creating) {
            return Err(OciError::State { id: id.to_owned(), status, verb: "update" });
        }
        let steps = resources::plan(Some(asked), Layout::detect()?.is_v1(), false)?;
        let cgroup = record.cgroup()?;
        let mut put_off = Vec::new();
        for step in &steps {
            // Version 1 wants memory within memory and swap together, whichever is raised: what does not fit yet
            // is tried again behind the others.
            if write(&cgroup, step).is_err() {
                put_off.push(step);
            }
        }
        for step in put_off {
            write(&cgroup, step).map_err(cannot(step.to_string()))?;
        }
        Ok(())
    }
}

fn write(cgroup: &Cgroup, step: &HostStep) -> io::Result<()> {
    match step {
        HostStep::SetLimit { controller, file, value, optional } => match cgroup.set(controller, file, value)
        {
            Err(error) if *optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
        HostStep::Oci(OciHostStep::SetFile { controller, file, value }) => {
            cgroup.set(controller, file, value)
        }
        _ => Ok(()),
    }
}
