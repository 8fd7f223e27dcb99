//! How it is found out whether a container does its work.

use proto::v1::CreateContainerRequest;

use crate::error::CommandError;

/// Health checks.
#[derive(Debug, clap::Args)]
pub(super) struct Health {}

impl Health {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let (Self {}, _) = (self, request);
        Ok(())
    }
}
