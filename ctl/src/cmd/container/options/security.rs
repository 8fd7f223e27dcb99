//! How a container is confined.

use proto::v1::CreateContainerRequest;

use crate::error::CommandError;

/// Confinement.
#[derive(Debug, clap::Args)]
pub(super) struct Security {}

impl Security {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let (Self {}, _) = (self, request);
        Ok(())
    }
}
