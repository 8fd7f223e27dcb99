//! `delete`: what is left of a container goes, and what its hooks said is told.

use std::process::ExitCode;

use agent_engine::oci::{OciError, Runtime};

use super::log::Log;

pub(super) fn delete(runtime: &Runtime, id: &str, force: bool, log: &Log<'_>) -> Result<ExitCode, OciError> {
    for complaint in runtime.delete(id, force)? {
        log.warning(&complaint);
    }
    log.debug(&format!("container {id} is deleted"));
    Ok(ExitCode::SUCCESS)
}
