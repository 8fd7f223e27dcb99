//! What can go wrong in the network layer, in words a person at a terminal can act on.

use std::path::PathBuf;

use super::port::Protocol;

/// An error of the network layer. A failed call leaves nothing half-made of what it was asked to make.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The port belongs to a process outside Roadstead; containers cannot have it.
    #[error("port {port}/{protocol} is already in use on this host by another process")]
    PortInUse {
        /// Transport protocol of the port.
        protocol: Protocol,
        /// The port on the host.
        port: u16,
    },
    /// The port could not be held for a reason other than being in use.
    #[error("port {port}/{protocol} cannot be held on this host")]
    PortHold {
        /// Transport protocol of the port.
        protocol: Protocol,
        /// The port on the host.
        port: u16,
        /// What the kernel answered.
        #[source]
        source: std::io::Error,
    },
    /// A subnet that cannot be used for containers.
    #[error("subnet '{text}' is not usable: {rule}")]
    BadSubnet {
        /// The subnet as it was written.
        text: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A bridge name the kernel would refuse.
    #[error("bridge name '{name}' is not usable: 1 to 15 letters, digits, '-', '_' or '.'")]
    BadBridge {
        /// The name as it was given.
        name: String,
    },
    /// A container id from which no host names can be derived.
    #[error("container id '{id}' is not usable: 12 to 64 lower-case letters or digits")]
    BadId {
        /// The id as it was given.
        id: String,
    },
    /// Another interface of this host already owns an address of the subnet.
    #[error(
        "subnet {subnet} overlaps {address} of this host's interface '{link}'; give the agent another --subnet"
    )]
    SubnetTaken {
        /// The subnet that was asked for.
        subnet: String,
        /// The address that lies in it.
        address: std::net::Ipv4Addr,
        /// The interface that owns the address.
        link: String,
    },
    /// Every address of the subnet is leased.
    #[error("no address is left in subnet {subnet}: all {count} are in use")]
    SubnetFull {
        /// The subnet.
        subnet: String,
        /// How many addresses it has for containers.
        count: u32,
    },
    /// A link, address or route could not be changed.
    #[error("cannot {action}")]
    Link {
        /// What was attempted, with the name of the object.
        action: String,
        /// What the kernel answered.
        #[source]
        source: std::io::Error,
    },
    /// A packet filter transaction was refused; the kernel applied none of it.
    #[error("cannot {action} in nftables table '{table}'")]
    Filter {
        /// What was attempted.
        action: &'static str,
        /// The table.
        table: String,
        /// What the kernel answered.
        #[source]
        source: std::io::Error,
    },
    /// A network namespace, its file or a file below it could not be handled.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: std::io::Error,
    },
    /// A worker thread or task of the network layer is gone (the process is shutting down).
    #[error("the network worker has stopped")]
    Stopped,
}
