//! Which namespaces a container shares.

use proto::v1::CreateContainerRequest;

use crate::error::CommandError;

/// Namespaces.
#[derive(Debug, clap::Args)]
pub(super) struct Namespaces {}

impl Namespaces {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let (Self {}, _) = (self, request);
        Ok(())
    }
}
