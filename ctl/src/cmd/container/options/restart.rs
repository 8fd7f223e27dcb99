//! When a container is started again.

use proto::v1::CreateContainerRequest;

use crate::error::CommandError;

/// Restarts.
#[derive(Debug, clap::Args)]
pub(super) struct Restart {}

impl Restart {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let (Self {}, _) = (self, request);
        Ok(())
    }
}
