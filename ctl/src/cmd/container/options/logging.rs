//! Where a container's output is kept.

use proto::v1::CreateContainerRequest;

use crate::error::CommandError;

/// Logs.
#[derive(Debug, clap::Args)]
pub(super) struct Logging {}

impl Logging {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let (Self {}, _) = (self, request);
        Ok(())
    }
}
