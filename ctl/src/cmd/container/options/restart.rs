//! When a container is started again.

use proto::v1::CreateContainerRequest;

use crate::error::CommandError;

/// Restarts.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Restarts")]
pub(super) struct Restart {
    /// Start it again when it has ended: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no", conflicts_with = "rm")]
    restart: String,
}

impl Restart {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        request.restart = self.restart;
        Ok(())
    }
}
