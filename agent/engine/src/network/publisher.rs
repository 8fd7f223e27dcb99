//! Holds the host's ports and drives the packet filter: which ports this host serves, and who answers them.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use super::{
    error::NetworkError,
    nft::Filter,
    port::{PortKey, Protocol, PublishedPort, hold, merge},
};

/// The published ports of one host. Synchronous: a change is one exchange with the kernel.
#[derive(Debug)]
pub(super) struct Publisher {
    filter: Filter,
    held: BTreeMap<PortKey, OwnedFd>,
}

impl Publisher {
    pub(super) fn new(filter: Filter) -> Self {
        Self { filter, held: BTreeMap::new() }
    }

    /// Makes the host serve exactly these ports. Ports that belong to somebody else are left out and returned.
    pub(super) fn set(&mut self, ports: Vec<PublishedPort>) -> Result<Vec<NetworkError>, NetworkError> {
        let mut wanted = merge(ports);
        let mut refused = Vec::new();
        let mut fresh = BTreeMap::new();
        wanted.retain(|key, _| {
            if self.held.contains_key(key) {
                return true;
            }
            match hold(key.0, key.1) {
                Ok(socket) => fresh.insert(*key, socket).is_none(),
                Err(error) => {
                    refused.push(error);
                    false
                }
            }
        });
        // An error gives the fresh ports back and leaves what was.
        self.filter.publish(&wanted)?;
        self.held.append(&mut fresh);
        self.held.retain(|key, _| wanted.contains_key(key));
        Ok(refused)
    }

    /// Whether the port could be published now, or is.
    pub(super) fn check(&self, protocol: Protocol, port: u16) -> Result<(), NetworkError> {
        if self.held.contains_key(&(protocol, port)) { Ok(()) } else { hold(protocol, port).map(drop) }
    }

    /// Writes the rules again if they were flushed.
    pub(super) fn restore(&mut self) -> Result<(), NetworkError> {
        self.filter.restore()
    }

    /// Gives every port back and removes the table.
    pub(super) fn remove(&mut self) -> Result<(), NetworkError> {
        self.filter.remove()?;
        self.held.clear();
        Ok(())
    }
}
