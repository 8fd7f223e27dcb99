//! How a container is named and reached on the network, and what it finds there.

use proto::v1::CreateContainerRequest;

use super::notation;
use super::publish::{self, Publish};
use crate::error::CommandError;

/// The container on the network.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(super) struct Network {
    /// Publish a port on this host: [PUBLISHED:]TARGET[/udp], or ranges of them
    #[arg(long, short = 'p', value_name = "PORTS", value_parser = publish::read)]
    publish: Vec<Publish>,
    /// Publish every exposed port on a free port of this host
    #[arg(long, short = 'P')]
    publish_all: bool,
    /// A port that it serves, beside those of its image: PORT[/udp]
    #[arg(long, value_name = "PORT")]
    expose: Vec<String>,
    /// Host name of the container
    #[arg(long, short = 'h', default_value = "", hide_default_value = true)]
    hostname: String,
    /// NIS domain name of the container
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    domainname: String,
    /// Add a line to /etc/hosts: NAME:ADDRESS, where host-gateway is this host
    #[arg(long, value_name = "HOST", value_parser = notation::extra_host)]
    add_host: Vec<String>,
    /// Ask this name server instead of the host's
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<std::net::IpAddr>,
    /// Search this domain instead of the host's; . searches none
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of the resolver
    #[arg(long, value_name = "OPTION", visible_alias = "dns-opt")]
    dns_option: Vec<String>,
}

impl Network {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        request.ports = self.publish.iter().flat_map(|one| one.fixed.clone()).collect();
        let publish_free = self.publish.into_iter().flat_map(|one| one.free).collect();
        super::spec(request).hostname = self.hostname;
        let isolation = super::isolation(request);
        isolation.publish_all = self.publish_all;
        isolation.publish_free = publish_free;
        isolation.expose = self.expose;
        isolation.domainname = self.domainname;
        isolation.extra_hosts = self.add_host;
        isolation.dns = self.dns.iter().map(ToString::to_string).collect();
        isolation.dns_search = self.dns_search;
        isolation.dns_options = self.dns_option;
        Ok(())
    }
}
