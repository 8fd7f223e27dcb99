//! A host to test on: a network namespace with loopback, a run directory, and on request a neighbour on a LAN.

use std::{
    fs::File,
    future::Future,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use agent_engine::network::{Endpoint, Network, NetworkConfig, PoolConfig, Protocol, PublishedPort};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        link::{InfoData, InfoKind, InfoVeth},
        rule::{RuleAction::ToTable, RuleAttribute, RuleMessage},
    },
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub(crate) const BRIDGE: &str = "roadstead0";
pub(crate) const HOST_ON_LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
pub(crate) const LAN_PEER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

/// The host of one test.
pub(crate) struct Lab {
    pub(crate) run_dir: tempfile::TempDir,
    pub(crate) host: OwnedFd,
    handle: Handle,
}

/// Runs a test on a new thread in a new network namespace.
pub(crate) fn on_fresh_host<F: Future<Output = ()>>(test: impl FnOnce(Lab) -> F + Send + 'static) {
    assert!(rustix::process::geteuid().is_root(), "this test makes network namespaces: run it as root");
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            let lo = LinkUnspec::new_with_name("lo").up().build();
            handle.link().set(lo).execute().await.unwrap();
            let run_dir = tempfile::Builder::new().prefix("network-test-").tempdir().unwrap();
            test(Lab { run_dir, host: own_namespace(), handle }).await;
        });
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn own_namespace() -> OwnedFd {
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

/// The namespace of an endpoint.
pub(crate) fn inside(endpoint: &Endpoint) -> OwnedFd {
    File::open(&endpoint.netns).unwrap().into()
}

/// Runs the work on a new thread in the namespace and waits for it.
pub(crate) fn within<T: Send + 'static>(
    namespace: &impl AsFd,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let namespace = namespace.as_fd().try_clone_to_owned().unwrap();
    let run = move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    };
    std::thread::spawn(run).join().unwrap()
}

/// So many networks in advance, for containers with ids from 900 on.
pub(crate) fn pool(size: usize) -> PoolConfig {
    static NEXT: AtomicU32 = AtomicU32::new(900);
    PoolConfig { size, new_id: || Ok(id(NEXT.fetch_add(1, Ordering::Relaxed))) }
}

/// A container id that starts with the number.
pub(crate) fn id(number: u32) -> String {
    format!("{number:012x}").repeat(5) + "abcd"
}

pub(crate) fn tcp(port: u16, targets: &[(Ipv4Addr, u16)]) -> PublishedPort {
    PublishedPort { protocol: Protocol::Tcp, port, targets: targets.to_vec() }
}

impl Lab {
    pub(crate) fn config(&self) -> NetworkConfig {
        let subnet = "10.213.0.0/16".parse().unwrap();
        NetworkConfig { bridge: BRIDGE.into(), subnet, run_dir: self.run_dir.path().into(), pool: pool(0) }
    }

    pub(crate) async fn open(&self) -> Network {
        Network::open(self.config()).await.unwrap()
    }

    /// Names of all links of the host.
    pub(crate) fn links(&self) -> Vec<String> {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
    }

    /// What is kept in the directory of namespaces.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.run_dir.path().join("netns")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Mounts below the run directory.
    pub(crate) fn mounts(&self) -> usize {
        mounts_below(self.run_dir.path())
    }

    /// The whole packet filter as `nft` shows it.
    pub(crate) fn rules(&self) -> String {
        let output = Command::new("nft").args(["list", "ruleset"]).output();
        let output = output.expect("the nft program: install the package nftables");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A neighbour on a LAN of this host, in a namespace of its own, that routes everything through the host.
    pub(crate) async fn lan_peer(&self) -> OwnedFd {
        let peer = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            own_namespace()
        });
        let peer = peer.join().unwrap();
        let other = LinkUnspec::new_with_name("lan0").index(9).setns_by_fd(peer.as_raw_fd()).build();
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name("lan0")
            .index(9)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(other)))
            .build();
        self.handle.link().add(pair).execute().await.unwrap();
        configure_lan(&self.handle, HOST_ON_LAN).await;
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, _) = within(&peer, move || {
            let _entered = runtime.enter();
            rtnetlink::new_connection().unwrap()
        });
        tokio::spawn(connection);
        configure_lan(&handle, LAN_PEER).await;
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(HOST_ON_LAN).build();
        handle.route().add(route).execute().await.unwrap();
        peer
    }
}

impl Drop for Lab {
    /// A test that failed left its namespaces bound: those mounts are the machine's, not the test's.
    fn drop(&mut self) {
        for name in self.namespaces() {
            let path = self.run_dir.path().join("netns").join(name);
            // Best effort: the failure of the test itself is what matters.
            let _ = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

async fn configure_lan(handle: &Handle, address: Ipv4Addr) {
    handle.link().set(LinkUnspec::new_with_index(9).up().build()).execute().await.unwrap();
    handle.address().add(9, IpAddr::V4(address), 24).execute().await.unwrap();
}

fn mounts_below(path: &Path) -> usize {
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(path.to_str().unwrap())).count()
}

/// Makes the namespace send this loopback address out to the gateway.
pub(crate) async fn route_loopback_through(namespace: &impl AsFd, loopback: Ipv4Addr, gateway: Ipv4Addr) {
    let runtime = tokio::runtime::Handle::current();
    let (connection, handle, _) = within(namespace, move || {
        let _entered = runtime.enter();
        rtnetlink::new_connection().unwrap()
    });
    tokio::spawn(connection);
    // Looked up before the table of local addresses, whose own rule has to make room.
    let rule = |table, priority| handle.rule().add().v4().table_id(table).priority(priority).action(ToTable);
    rule(254, 1).destination_prefix(loopback, 32).execute().await.unwrap();
    rule(255, 2).execute().await.unwrap();
    let mut first = RuleMessage::default();
    first.header.family = AddressFamily::Inet;
    first.header.table = 255;
    first.header.action = ToTable;
    first.attributes.push(RuleAttribute::Priority(0));
    handle.rule().del(first).execute().await.unwrap();
    let route =
        RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(loopback, 32).gateway(gateway).build();
    handle.route().add(route).execute().await.unwrap();
}
