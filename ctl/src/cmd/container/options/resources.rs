//! What a container may use of the host's processors and memory.

use proto::v1::CreateContainerRequest;

use crate::cmd::service::spec;
use crate::error::CommandError;

/// Limits of the container.
#[derive(Debug, clap::Args)]
pub(super) struct Resources {
    /// Those that services have too.
    #[command(flatten)]
    limits: spec::Limits,
}

impl Resources {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        super::spec(request).limits = Some(self.limits.to_resources());
        Ok(())
    }
}
