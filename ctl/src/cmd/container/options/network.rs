//! How a container is named and reached on the network.

use proto::v1::{CreateContainerRequest, PublishedPort};

use crate::cmd::service::spec;
use crate::error::CommandError;

/// The container on the network.
#[derive(Debug, clap::Args)]
pub(super) struct Network {
    /// Publish a port on this host: PUBLISHED:TARGET[/udp]
    #[arg(long, short = 'p', value_name = "PORTS", value_parser = spec::port)]
    publish: Vec<PublishedPort>,
    /// Host name of the container
    #[arg(long, default_value = "", hide_default_value = true)]
    hostname: String,
}

impl Network {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        request.ports = self.publish;
        super::spec(request).hostname = self.hostname;
        Ok(())
    }
}
