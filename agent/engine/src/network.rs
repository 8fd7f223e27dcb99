//! One bridge network per host: every container has a network namespace, one interface and an address on the bridge;
//! published ports of the host are translated to containers by the kernel, with no process in between.
//!
//! | part | what it owns |
//! |---|---|
//! | `link` | the bridge and the host ends of the pairs (rtnetlink) |
//! | `netns` | namespaces, kept by the files `<run>/netns/<id>`, and the settings inside |
//! | `lease` | who has which address |
//! | `pool` | networks made before they are needed |
//! | `reaper` | taking networks apart in batches |
//! | `publisher`, `port` | holding host ports, so that a conflict is found |
//! | `nft` | the packet filter table |
//! | `watcher` | notices when somebody flushes it |
//!
//! Lifecycle: `open`, then `attach` and `detach` by container id in any order and as often as one likes, and
//! `set_published` with the whole wanted set after each change. Dropping the handle changes nothing on the host:
//! containers keep their network, and the next `open` on the same host state takes all of it over. What is where
//! follows from the id and from the kernel's own tables, so there is no record that could disagree with them.
//!
//! Deliberately absent: IPv6, more than one network, addresses reachable from other hosts, DNS.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use self::{
    lease::Leases,
    link::{HOST_PREFIX, Links},
    netns::Netns,
    nft::Filter,
    pool::Pool,
    publisher::Publisher,
    reaper::{Plug, Reaper},
    watcher::Watcher,
};

mod error;
mod lease;
mod link;
mod netns;
mod nft;
mod pool;
mod port;
mod publisher;
mod reaper;
mod subnet;
mod sysctl;
mod watcher;

pub use error::NetworkError;
pub(crate) use netns::SETTINGS;
pub use pool::PoolConfig;
pub use port::{Protocol, PublishedPort};
pub use subnet::Subnet;

/// What a network needs to know about its host.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Name of the bridge interface, at most 15 bytes.
    pub bridge: String,
    /// Addresses for the bridge (the first) and the containers.
    pub subnet: Subnet,
    /// Directory in which `netns/` is made; it need not survive a reboot.
    pub run_dir: PathBuf,
    /// Networks made in advance.
    pub pool: PoolConfig,
}

/// A container's place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Address of `eth0`.
    pub address: Ipv4Addr,
    /// Prefix length of the address, in bits.
    pub prefix: u8,
    /// The bridge's address: the default route.
    pub gateway: Ipv4Addr,
    /// Hardware address of `eth0`; follows from the address.
    pub mac: String,
    /// File that keeps the network namespace; open it to enter.
    pub netns: PathBuf,
}

/// Handle to the host's bridge network; cheap to clone.
#[derive(Debug, Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: NetworkConfig,
    /// Its index; held by whoever makes it anew.
    bridge: tokio::sync::Mutex<u32>,
    links: Arc<Links>,
    reaper: Reaper,
    leases: Arc<Mutex<Leases>>,
    publisher: Arc<Mutex<Publisher>>,
    _watcher: Watcher,
    busy: Mutex<BTreeMap<String, Weak<tokio::sync::Mutex<()>>>>,
    pool: Pool,
    /// To ask the kernel what index the bridge's name has.
    probe: std::os::fd::OwnedFd,
}

impl Network {
    /// Makes the bridge and the packet filter table in the network namespace of the calling thread, or takes over
    /// those that are there with everything attached to them. Needs root. Turns IPv4 forwarding on.
    ///
    /// # Errors
    /// A name that cannot be, a subnet that overlaps this host's addresses, or what the kernel refused.
    pub async fn open(config: NetworkConfig) -> Result<Self, NetworkError> {
        check_bridge(&config.bridge)?;
        let netns_dir = config.run_dir.join("netns");
        std::fs::create_dir_all(&netns_dir).map_err(|source| NetworkError::File {
            action: "make directory",
            path: netns_dir,
            source,
        })?;
        let links = Arc::new(Links::open()?);
        let bridge = links.ensure_bridge(&config.bridge, config.subnet).await?;
        // The rules are in place before anything is forwarded.
        let filter = Filter::open(&config.bridge, config.subnet)?;
        set_up_bridge(&config.bridge)?;
        sysctl::ensure("net/ipv4/ip_forward", "1")?;
        links.delete(&[]).await?;
        let mut leases = Leases::open(config.subnet, config.run_dir.join("next-address"));
        for (name, address) in links.host_ends(bridge, config.subnet).await? {
            leases.adopt(name, address);
        }
        let publisher = Arc::new(Mutex::new(Publisher::new(filter)));
        let leases = Arc::new(Mutex::new(leases));
        let inner = Inner {
            bridge: tokio::sync::Mutex::new(bridge),
            reaper: Reaper::start(Arc::clone(&links), Arc::clone(&leases)),
            links,
            leases,
            _watcher: Watcher::start(Arc::clone(&publisher))?,
            publisher,
            busy: Mutex::default(),
            pool: Pool::new(config.pool),
            probe: pool::probe()?,
            config,
        };
        let inner = Arc::new(inner);
        tokio::spawn(pool::keep(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Gives the container a namespace with an address, or returns what it has. On error it has neither. Goes on
    /// to its end even when the caller stops waiting.
    ///
    /// # Errors
    /// An unusable id, a full subnet, or what the kernel refused.
    pub async fn attach(&self, id: &str) -> Result<Endpoint, NetworkError> {
        check_id(id)?;
        if self.inner.pool.claim(id) {
            if let Some(endpoint) = self.in_order(id).await {
                return Ok(endpoint);
            }
            self.detach(id).await?;
        }
        let (network, id) = (self.clone(), id.to_owned());
        spawned(async move {
            let lock = network.lock(&id);
            let _busy = lock.lock().await;
            let was_attached =
                netns::is_namespace(&network.netns_path(&id)) && network.has_lease(&host_end(&id));
            let result = network.build(&id).await;
            // A running container keeps what it has when repeating the call fails.
            if result.is_err()
                && !was_attached
                && let Err(error) = network.tear_down(&id).await
            {
                tracing::warn!(container = id, %error, "cannot undo a failed attach; the next sweep will");
            }
            result
        })
        .await
    }

    /// The place of the container that has this address; touches nothing.
    pub fn endpoint(&self, id: &str, address: Ipv4Addr) -> Endpoint {
        let subnet = self.inner.config.subnet;
        Endpoint {
            address,
            prefix: subnet.prefix(),
            gateway: subnet.gateway(),
            mac: subnet::mac_text(subnet::container_mac(address)),
            netns: self.netns_path(id),
        }
    }

    /// Takes the container's namespace, interface and address away. When it returns the host's end is gone and the
    /// address is free; nothing there is fine. Goes on to its end even when the caller stops waiting.
    ///
    /// # Errors
    /// An unusable id, or what the kernel refused.
    pub async fn detach(&self, id: &str) -> Result<(), NetworkError> {
        check_id(id)?;
        let (network, id) = (self.clone(), id.to_owned());
        spawned(async move {
            let lock = network.lock(&id);
            let _busy = lock.lock().await;
            network.tear_down(&id).await
        })
        .await
    }

    /// As [`Network::detach`] of a container that never comes back, without waiting for the kernel: its place is gone
    /// within half a second, and its address is given to nobody before that.
    ///
    /// # Errors
    /// An unusable id.
    pub async fn retire(&self, id: &str) -> Result<(), NetworkError> {
        check_id(id)?;
        self.inner.reaper.retire(self.plug(id)).await;
        Ok(())
    }

    /// Returns when all that was retired is gone.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn settle(&self) -> Result<(), NetworkError> {
        self.inner.reaper.flush().await
    }

    /// Makes the host serve exactly these ports, in one transaction of what differs. Ports that belong to another
    /// process are left out and returned, each as the error that names it; all others are served.
    ///
    /// # Errors
    /// The kernel refused the transaction: everything is as it was before.
    pub async fn set_published(&self, ports: Vec<PublishedPort>) -> Result<Vec<NetworkError>, NetworkError> {
        let inner = Arc::clone(&self.inner);
        let change = move || guard(&inner.publisher).set(ports);
        tokio::task::spawn_blocking(change).await.map_err(|_| NetworkError::Stopped)?
    }

    /// Whether a port could be published on this host: free, or held by this network already. Changes nothing.
    ///
    /// # Errors
    /// [`NetworkError::PortInUse`] when another process has it.
    pub fn check_port(&self, protocol: Protocol, port: u16) -> Result<(), NetworkError> {
        guard(&self.inner.publisher).check(protocol, port)
    }

    /// Removes namespaces and interfaces that belong to none of the known containers; returns their names. A container
    /// that is being attached meanwhile must be among the known ones.
    ///
    /// # Errors
    /// The first thing that could not be removed; the others were tried all the same.
    pub async fn sweep(&self, known: &BTreeSet<String>) -> Result<Vec<String>, NetworkError> {
        let directory = self.inner.config.run_dir.join("netns");
        let failed = |source| NetworkError::File { action: "list", path: directory.clone(), source };
        let mut strangers = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if !known.contains(&name) && check_id(&name).is_ok() {
                strangers.push(name);
            }
        }
        let results = futures::future::join_all(strangers.iter().map(|id| self.detach(id))).await;
        let ours: BTreeSet<String> = known.iter().map(|id| host_end(id)).collect();
        let mut links = guard(&self.inner.leases).names();
        links.retain(|name| !ours.contains(name));
        let deleted = futures::future::join_all(links.iter().map(|name| self.delete_link(name))).await;
        results.into_iter().chain(deleted).collect::<Result<(), _>>()?;
        Ok(strangers.into_iter().chain(links).collect())
    }

    /// Detaches every container and removes bridge, table and files. The handle is of no use afterwards.
    ///
    /// # Errors
    /// What could not be removed; call it again.
    pub async fn remove_all(&self) -> Result<(), NetworkError> {
        self.close_pool().await;
        self.sweep(&BTreeSet::new()).await?;
        let inner = &self.inner;
        let bridge = *inner.bridge.lock().await;
        inner.links.delete_bridge(&inner.config.bridge, bridge).await?;
        guard(&inner.publisher).remove()?;
        let run_dir = &inner.config.run_dir;
        // Both are empty of meaning now; a directory somebody else put files in stays.
        let _ = std::fs::remove_file(run_dir.join("next-address"));
        let _ = std::fs::remove_dir(run_dir.join("netns"));
        Ok(())
    }

    async fn build(&self, id: &str) -> Result<Endpoint, NetworkError> {
        let inner = &self.inner;
        let name = host_end(id);
        let path = self.netns_path(id);
        let (netns, new) = Netns::ensure(&path).await?;
        if new && self.has_lease(&name) {
            // The other end is in a namespace that nobody can enter any more.
            self.delete_link(&name).await?;
        }
        let leased = guard(&inner.leases).get(&name);
        let address = match leased {
            Some(address) => address,
            None => self.take_address(&name).await?,
        };
        if leased.is_none() {
            let bridge = *inner.bridge.lock().await;
            let made = inner.links.create_pair(&name, bridge, address, netns.descriptor()).await;
            if let Err(error) = made {
                let bridge = self.restored_bridge(error).await?;
                inner.links.create_pair(&name, bridge, address, netns.descriptor()).await?;
            }
        }
        let endpoint = self.endpoint(id, address);
        futures::try_join!(inner.links.allow_hairpin(&name), netns.configure(&endpoint))?;
        Ok(endpoint)
    }

    /// The bridge made anew, with the containers that were on it, when `error` came of its being deleted by somebody.
    async fn restored_bridge(&self, error: NetworkError) -> Result<u32, NetworkError> {
        let inner = &self.inner;
        let NetworkConfig { bridge: name, subnet, .. } = &inner.config;
        let mut bridge = inner.bridge.lock().await;
        if inner.links.has_bridge(name, *bridge).await? {
            return Err(error);
        }
        tracing::warn!(bridge = name, "the bridge was deleted by somebody; it is made again");
        *bridge = inner.links.ensure_bridge(name, *subnet).await?;
        set_up_bridge(name)?;
        inner.links.host_ends(*bridge, *subnet).await?;
        Ok(*bridge)
    }

    /// What was made in advance, unless somebody has touched it or the bridge since.
    async fn in_order(&self, id: &str) -> Option<Endpoint> {
        let inner = &self.inner;
        let bridge = *inner.bridge.lock().await;
        let now = rustix::net::netdevice::name_to_index(&inner.probe, &inner.config.bridge);
        let address = guard(&inner.leases).get(&host_end(id))?;
        let is_there = now == Ok(bridge) && netns::is_namespace(&self.netns_path(id));
        is_there.then(|| self.endpoint(id, address))
    }

    /// An address, if need be one that was kept in stock or is about to be free.
    async fn take_address(&self, name: &str) -> Result<Ipv4Addr, NetworkError> {
        match guard(&self.inner.leases).take(name) {
            Err(NetworkError::SubnetFull { .. }) => {}
            other => return other,
        }
        self.give_back(true).await;
        self.settle().await?;
        guard(&self.inner.leases).take(name)
    }

    async fn tear_down(&self, id: &str) -> Result<(), NetworkError> {
        self.inner.reaper.delete(self.plug(id)).await
    }

    fn plug(&self, id: &str) -> Plug {
        Plug { name: host_end(id), netns: Some(self.netns_path(id)) }
    }

    /// Deletes a host end, then frees the address.
    async fn delete_link(&self, name: &str) -> Result<(), NetworkError> {
        self.inner.reaper.delete(Plug { name: name.to_owned(), netns: None }).await
    }

    fn has_lease(&self, name: &str) -> bool {
        guard(&self.inner.leases).get(name).is_some()
    }

    fn netns_path(&self, id: &str) -> PathBuf {
        self.inner.config.run_dir.join("netns").join(id)
    }

    /// What makes operations on one id wait for each other.
    fn lock(&self, id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = guard(&self.inner.busy);
        if let Some(lock) = busy.get(id).and_then(Weak::upgrade) {
            return lock;
        }
        busy.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        busy.insert(id.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

/// What a bridge needs that is new.
fn set_up_bridge(name: &str) -> Result<(), NetworkError> {
    // Lets answers to connections from 127.0.0.1 come back over the bridge.
    sysctl::ensure(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
    sysctl::set_if_there(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1")
}

/// Runs the work as a task of its own, so that a caller that goes away does not leave it half done.
async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T, NetworkError>> + Send + 'static,
) -> Result<T, NetworkError> {
    tokio::spawn(work).await.map_err(|_| NetworkError::Stopped)?
}

/// The data behind these locks is valid between any two statements, so a panic elsewhere does not spoil it.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Name of the host end of a container's pair: the kernel allows 15 bytes.
fn host_end(id: &str) -> String {
    HOST_PREFIX.chars().chain(id.chars().take(12)).collect()
}

fn check_id(id: &str) -> Result<(), NetworkError> {
    let usable = (12..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if usable { Ok(()) } else { Err(NetworkError::BadId { id: id.to_owned() }) }
}

fn check_bridge(name: &str) -> Result<(), NetworkError> {
    let usable = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if usable { Ok(()) } else { Err(NetworkError::BadBridge { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_end_fits_the_kernels_limit_and_starts_with_the_id() {
        assert_eq!(host_end(&"0123456789abcdef".repeat(4)), "rs0123456789ab");
    }

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for id in ["", "short", "../../etc/passwd", "0123456789AB", "0123456789ab/"] {
            assert!(matches!(check_id(id), Err(NetworkError::BadId { .. })), "{id}");
        }
        assert!(check_id("0123456789ab").is_ok());
        for name in ["", "..", "a/b", "sixteen-letters-", "a b"] {
            assert!(matches!(check_bridge(name), Err(NetworkError::BadBridge { .. })), "{name}");
        }
    }
}
