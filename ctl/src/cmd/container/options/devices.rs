//! The devices of the host that a container may use.

use proto::v1::CreateContainerRequest;

use crate::error::CommandError;

/// Devices.
#[derive(Debug, clap::Args)]
pub(super) struct Devices {}

impl Devices {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let (Self {}, _) = (self, request);
        Ok(())
    }
}
