//! The host side: the bridge, the host ends of containers' pairs, and their removal in batches. Speaks rtnetlink in
//! the network namespace of the thread that opened it.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, BorrowedFd},
};

use futures::{StreamExt, TryStreamExt, future};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::{
        address::AddressAttribute,
        link::{InfoData, InfoKind, InfoPortKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage},
    },
};

use super::{
    error::NetworkError,
    subnet::{Subnet, address_of_host_mac, container_mac, host_mac},
};

/// The interface group of links that are about to be deleted. Deleting a group waits for the kernel's readers
/// once, not once per link; only links that are condemned anyway are ever put in it.
const CONDEMNED: u32 = 0x5244_5354;
/// What the host end of every pair of ours is called, before the first twelve characters of the id.
pub(super) const HOST_PREFIX: &str = "rs";
/// An open connection to the kernel's link tables, and the task that drives it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) handle: Handle,
    driver: tokio::task::JoinHandle<()>,
}

impl Connection {
    /// Connects to the network namespace of the calling thread; needs a runtime to be entered.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, driver: tokio::spawn(connection) })
    }

    /// The link of this name, if there is one.
    pub(super) async fn find(&self, name: &str) -> Result<Option<LinkMessage>, NetworkError> {
        let get = self.handle.link().get().match_name(name.to_owned()).execute();
        let mut get = std::pin::pin!(get);
        match request(|| format!("look up interface '{name}'"), get.try_next()).await {
            Err(NetworkError::Link { source, .. }) if is_gone(&source) => Ok(None),
            other => other,
        }
    }

    /// The index of the link of this name.
    pub(super) async fn index(&self, name: &str) -> Result<u32, NetworkError> {
        let link = self.find(name).await?;
        link.map(|link| link.header.index).ok_or_else(|| NetworkError::Link {
            action: format!("find interface '{name}'"),
            source: io::ErrorKind::NotFound.into(),
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Runs a request and names what it was for when it fails.
pub(super) async fn request<T>(
    action: impl FnOnce() -> String,
    request: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, NetworkError> {
    request.await.map_err(|error| NetworkError::Link { action: action(), source: to_io(error) })
}

fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

/// Success when the kernel says that the object is not there.
fn gone_is_fine(result: Result<(), NetworkError>) -> Result<(), NetworkError> {
    match result {
        Err(NetworkError::Link { source, .. }) if is_gone(&source) => Ok(()),
        other => other,
    }
}

fn is_gone(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [rustix::io::Errno::NODEV, rustix::io::Errno::NOENT]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

/// The links of the host.
#[derive(Debug)]
pub(super) struct Links {
    connection: Connection,
}

impl Links {
    pub(super) fn open() -> Result<Self, NetworkError> {
        let connection = Connection::open()
            .map_err(|source| NetworkError::Link { action: "open a netlink socket".into(), source })?;
        Ok(Self { connection })
    }

    fn handle(&self) -> &Handle {
        &self.connection.handle
    }

    /// Makes the bridge with its address, or takes over the one that is there; its index.
    pub(super) async fn ensure_bridge(&self, name: &str, subnet: Subnet) -> Result<u32, NetworkError> {
        let found = self.connection.find(name).await?;
        if let Some(link) = &found {
            refuse_unless_bridge(name, link)?;
        }
        let found = found.map(|link| link.header.index);
        self.refuse_overlap(found, subnet).await?;
        let index = match found {
            Some(index) => index,
            None => self.create_bridge(name, subnet).await?,
        };
        let up = self.handle().link().set(LinkUnspec::new_with_index(index).up().build());
        request(|| format!("bring bridge '{name}' up"), up.execute()).await?;
        let gateway = IpAddr::V4(subnet.gateway());
        let address = self.handle().address().add(index, gateway, subnet.prefix()).replace();
        request(|| format!("give bridge '{name}' address {gateway}"), address.execute()).await?;
        Ok(index)
    }

    async fn create_bridge(&self, name: &str, subnet: Subnet) -> Result<u32, NetworkError> {
        // With an address of its own the bridge does not take over that of a port that comes or goes.
        let mac = container_mac(subnet.gateway()).to_vec();
        let message = LinkMessageBuilder::<LinkBridge>::new(name).address(mac).build();
        request(|| format!("make bridge '{name}'"), self.handle().link().add(message).execute()).await?;
        self.connection.index(name).await
    }

    async fn refuse_overlap(&self, bridge: Option<u32>, subnet: Subnet) -> Result<(), NetworkError> {
        let mut addresses = self.handle().address().get().execute();
        while let Some(message) = addresses.next().await {
            let message = request(|| "list addresses".into(), future::ready(message)).await?;
            let inside = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(address)) if subnet.contains(*address) => Some(*address),
                _ => None,
            });
            if let Some(address) = inside.filter(|_| Some(message.header.index) != bridge) {
                let label = message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Label(label) => Some(label.clone()),
                    _ => None,
                });
                let link = label.unwrap_or_else(|| format!("index {}", message.header.index));
                return Err(NetworkError::SubnetTaken { subnet: subnet.to_string(), address, link });
            }
        }
        Ok(())
    }

    /// Host ends on the bridge: name, and the address of the container on the other side. Those of this subnet that
    /// are on no bridge, since somebody deleted it, are put on this one.
    pub(super) async fn host_ends(
        &self,
        bridge: u32,
        subnet: Subnet,
    ) -> Result<Vec<(String, Ipv4Addr)>, NetworkError> {
        let dump = self.handle().link().get().execute().try_collect::<Vec<_>>();
        let links = request(|| "list interfaces".into(), dump).await?;
        let mut found = Vec::new();
        for end in links.iter().filter_map(host_end) {
            let is_stray = end.bridge.is_none() && subnet.contains(end.address);
            if is_stray {
                self.put_on_bridge(&end.name, bridge).await?;
            }
            if is_stray || end.bridge == Some(bridge) {
                found.push((end.name, end.address));
            }
        }
        Ok(found)
    }

    /// Whether the bridge is still the one with this index.
    pub(super) async fn has_bridge(&self, name: &str, bridge: u32) -> Result<bool, NetworkError> {
        Ok(self.connection.find(name).await?.is_some_and(|link| link.header.index == bridge))
    }

    async fn put_on_bridge(&self, name: &str, bridge: u32) -> Result<(), NetworkError> {
        let set = self.handle().link().set(LinkUnspec::new_with_name(name).controller(bridge).up().build());
        request(|| format!("put interface '{name}' on the bridge"), set.execute()).await?;
        self.allow_hairpin(name).await
    }

    /// Makes a pair in one message: the host end up and on the bridge, the other born as `eth0` in the
    /// container's namespace (moving it there afterwards would cost 40 times as much).
    pub(super) async fn create_pair(
        &self,
        name: &str,
        bridge: u32,
        address: Ipv4Addr,
        netns: BorrowedFd<'_>,
    ) -> Result<(), NetworkError> {
        let peer = LinkUnspec::new_with_name("eth0")
            .address(container_mac(address).to_vec())
            .setns_by_fd(netns.as_raw_fd())
            .build();
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name)
            .address(host_mac(address).to_vec())
            .controller(bridge)
            .up()
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        request(|| format!("make interface '{name}'"), self.handle().link().add(pair).execute()).await
    }

    /// Lets the bridge send a packet back out of the port it came from. Where bridged packets pass the packet
    /// filter (Docker turns that on for the whole host) a container needs it to reach its own published port.
    pub(super) async fn allow_hairpin(&self, name: &str) -> Result<(), NetworkError> {
        let port = LinkMessageBuilder::<LinkBridgePort>::default()
            .name(name)
            .set_port_kind(InfoPortKind::Bridge)
            .hairpin(true)
            .build();
        let set = self.handle().link().set_port(port);
        request(|| format!("set up bridge port '{name}'"), set.execute()).await
    }

    /// Deletes these links, and with them their other ends, in one operation of the kernel. Links that are gone
    /// already count as deleted. With no names it deletes what an agent that died had condemned.
    pub(super) async fn delete(&self, names: &[String]) -> Result<(), NetworkError> {
        let condemn = names.iter().map(|name| async move {
            let message = LinkUnspec::new_with_name(name).link_group(CONDEMNED).build();
            let set = self.handle().link().set(message).execute();
            gone_is_fine(request(|| format!("mark interface '{name}' for deletion"), set).await)
        });
        future::try_join_all(condemn).await?;
        let message = LinkMessageBuilder::<LinkUnspec>::default().link_group(CONDEMNED).build();
        let delete = self.handle().link().del_with_message(message).execute();
        gone_is_fine(request(|| format!("delete {} interfaces", names.len()), delete).await)
    }

    /// Deletes the bridge.
    pub(super) async fn delete_bridge(&self, name: &str, index: u32) -> Result<(), NetworkError> {
        let delete = self.handle().link().del(index).execute();
        gone_is_fine(request(|| format!("delete bridge '{name}'"), delete).await)
    }
}

fn refuse_unless_bridge(name: &str, link: &LinkMessage) -> Result<(), NetworkError> {
    let is_bridge = link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => info.contains(&LinkInfo::Kind(InfoKind::Bridge)),
        _ => false,
    });
    if is_bridge {
        return Ok(());
    }
    let action = format!("use interface '{name}' as the bridge: it is not a bridge");
    Err(NetworkError::Link { action, source: io::ErrorKind::AlreadyExists.into() })
}

/// The host end of a container's pair.
struct HostEnd {
    name: String,
    /// Of the container on the other side.
    address: Ipv4Addr,
    bridge: Option<u32>,
}

fn host_end(link: &LinkMessage) -> Option<HostEnd> {
    let bridge = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    });
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) if name.starts_with(HOST_PREFIX) => Some(name.clone()),
        _ => None,
    })?;
    let address = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => address_of_host_mac(mac),
        _ => None,
    })?;
    Some(HostEnd { name, address, bridge })
}
