//! What is mounted into a container.

use proto::v1::CreateContainerRequest;

use crate::error::CommandError;

/// Mounts and volumes.
#[derive(Debug, clap::Args)]
pub(super) struct Mounts {}

impl Mounts {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let (Self {}, _) = (self, request);
        Ok(())
    }
}
