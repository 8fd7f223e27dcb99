//! Which namespaces a container shares. Names are passed on as they are: the agent knows what there is.

use proto::v1::{CreateContainerRequest, NamespaceModes};

use crate::error::CommandError;

/// Namespaces.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Namespaces")]
pub(super) struct Namespaces {
    /// bridge, none, host or container:NAME
    #[arg(
        long,
        visible_alias = "net",
        value_name = "NETWORK",
        default_value = "",
        hide_default_value = true
    )]
    network: String,
    /// host: see the processes of the host; container:NAME: those of another container, with its users
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pid: String,
    /// private, none (no /dev/shm), shareable, host or container:NAME
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    ipc: String,
    /// host: have the name of the host
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    uts: String,
    /// private or host
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    cgroupns: String,
    /// private, or host: root in the container is root on the host
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    userns: String,
}

impl Namespaces {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        super::isolation(request).namespaces = Some(NamespaceModes {
            network: self.network,
            pid: self.pid,
            ipc: self.ipc,
            uts: self.uts,
            cgroup: self.cgroupns,
            user: self.userns,
        });
        Ok(())
    }
}
