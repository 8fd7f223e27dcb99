//! Whose network a container gets at a start: its own on the bridge, none, the host's, or that of another container,
//! which must run.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::identity;
use super::isolation::NetworkMode;
use super::record::Entry;
use crate::EngineError;
use crate::engine::Inner;

/// Containers that use the network of one that uses the network of one ...
const CHAIN: usize = 8;

/// What a start is given of the network.
#[derive(Debug)]
pub(crate) struct Plug {
    /// The namespace; `None` shares the host's, or makes one with nothing but a loopback interface.
    pub(crate) netns: Option<File>,
    /// Its address there.
    pub(crate) address: Option<Ipv4Addr>,
    /// Where it reaches this host.
    pub(crate) gateway: Option<IpAddr>,
    /// Its network is the host's.
    pub(crate) shares_host: bool,
}

impl Plug {
    fn without_bridge(shares_host: bool) -> Self {
        let gateway = shares_host.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Self { netns: None, address: None, gateway, shares_host }
    }
}

impl Inner {
    /// Connects a container that is about to start.
    pub(crate) async fn plug(&self, entry: &Entry) -> Result<Plug, EngineError> {
        let mode = entry.live().record.config.isolation.namespaces.network.clone();
        match mode {
            NetworkMode::Bridge => {
                let endpoint = self.network.attach(&entry.id).await?;
                entry.live().address = Some(endpoint.address);
                Ok(Plug {
                    netns: Some(open(&endpoint.netns)?),
                    address: Some(endpoint.address),
                    gateway: Some(endpoint.gateway.into()),
                    shares_host: false,
                })
            }
            NetworkMode::None => Ok(Plug::without_bridge(false)),
            NetworkMode::Host => Ok(Plug::without_bridge(true)),
            NetworkMode::Container(other) => self.plug_into(other),
        }
    }

    fn plug_into(&self, mut wanted: String) -> Result<Plug, EngineError> {
        for _ in 0..CHAIN {
            let other = self.running(&wanted)?;
            let (mode, address, pid) = {
                let live = other.live();
                (live.record.config.isolation.namespaces.network.clone(), live.address, live.pid)
            };
            match (mode, address, pid) {
                (NetworkMode::Host, ..) => return Ok(Plug::without_bridge(true)),
                (NetworkMode::Container(next), ..) => wanted = next,
                (NetworkMode::Bridge, Some(address), _) => {
                    let endpoint = self.network.endpoint(&other.id, address);
                    return Ok(Plug {
                        netns: Some(open(&endpoint.netns)?),
                        address: Some(address),
                        gateway: Some(endpoint.gateway.into()),
                        shares_host: false,
                    });
                }
                (NetworkMode::None, _, Some(pid)) => {
                    let netns = open(format!("/proc/{pid}/ns/net").as_ref())?;
                    // Read after the namespace was opened: a number that is another process's by now is not taken.
                    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
                    if !cgroup.contains(&other.id) {
                        return Err(self.wrong_state(&other, "it has ended just now; start it first"));
                    }
                    return Ok(Plug { netns: Some(netns), ..Plug::without_bridge(false) });
                }
                _ => return Err(self.wrong_state(&other, "it has no network at the moment; start it first")),
            }
        }
        Err(EngineError::invalid("network", "these containers use each other's network in a circle"))
    }

    fn running(&self, wanted: &str) -> Result<Arc<Entry>, EngineError> {
        let other = identity::resolve(&self.entries(), wanted)?;
        match other.state().is_alive() {
            true => Ok(other),
            false => Err(self.wrong_state(&other, "another container is to use its network: start it first")),
        }
    }
}

fn open(path: &std::path::Path) -> Result<File, EngineError> {
    File::open(path).map_err(|error| EngineError::file("open", path, error))
}
