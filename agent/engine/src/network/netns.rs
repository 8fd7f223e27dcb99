//! Network namespaces: made on a thread of their own, kept by a file, set up from inside.
//!
//! No helper process: a thread leaves the host's namespace by `unshare`, binds its own `/proc` entry to a file, opens
//! a netlink socket (which stays in the namespace it was opened in) and ends. The thread never runs anything else.

use std::{
    fs::{File, OpenOptions},
    io,
    net::{IpAddr, Ipv4Addr},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, unshare};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use rustix::{
    fs::statfs,
    io::Errno,
    mount::{UnmountFlags, mount_bind, unmount},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::{
    Endpoint,
    error::NetworkError,
    link::{Connection, request},
    sysctl,
};

const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Settings of every new namespace. The namespace belongs to the host's user namespace, so a container's root has no
/// capabilities over it: these let it open low ports and ping all the same.
pub(crate) const SETTINGS: [(&str, &str); 2] =
    [("net/ipv4/ip_unprivileged_port_start", "0"), ("net/ipv4/ping_group_range", "0 2147483647")];
/// There are no IPv6 addresses to give yet: without this each interface would take a link-local one and reach its
/// neighbours past the packet filter. Loopback keeps `::1`. Absent on kernels without IPv6.
const NO_IPV6: (&str, &str) = ("net/ipv6/conf/default/disable_ipv6", "1");

/// A container's namespace seen from inside.
#[derive(Debug)]
pub(super) struct Netns {
    file: File,
    connection: Connection,
}

impl Netns {
    /// Enters the namespace kept by the file, or makes one there. True when it was made.
    pub(super) async fn ensure(path: &Path) -> Result<(Self, bool), NetworkError> {
        let path = path.to_owned();
        on_thread(move || match is_namespace(&path) {
            true => Ok((enter(&path)?, false)),
            false => Ok((make(&path)?, true)),
        })
        .await
    }

    /// The namespace's descriptor.
    pub(super) fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Brings loopback and `eth0` up, with address and default route. Can be repeated.
    pub(super) async fn configure(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let handle = &self.connection.handle;
        let index = self.connection.index("eth0").await?;
        let lo = handle.link().set(LinkUnspec::new_with_name("lo").up().build());
        let eth0 = handle.link().set(LinkUnspec::new_with_index(index).up().build());
        let address = IpAddr::V4(endpoint.address);
        let address = handle.address().add(index, address, endpoint.prefix).replace();
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(endpoint.gateway).build();
        let route = handle.route().add(route).replace();
        // All four are on their way before the first is answered; the kernel takes them in this order.
        futures::try_join!(
            request(|| "bring a container's loopback up".into(), lo.execute()),
            request(|| "bring a container's eth0 up".into(), eth0.execute()),
            request(|| format!("give a container address {}", endpoint.address), address.execute()),
            request(|| "set a container's default route".into(), route.execute()),
        )?;
        Ok(())
    }
}

/// Removes the file and lets go of the namespace; it ends with the last process in it. Nothing there is fine.
pub(super) fn remove(path: &Path) -> Result<(), NetworkError> {
    let failed = |action| {
        let path = path.to_owned();
        move |source| NetworkError::File { action, path, source }
    };
    match unmount(path, UnmountFlags::DETACH) {
        // Not mounted: the agent died between making the file and binding the namespace to it.
        Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
        Err(errno) => return Err(failed("unmount network namespace")(errno.into())),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove")(error)),
        _ => Ok(()),
    }
}

/// Whether a network namespace is bound to this file.
pub(super) fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| i128::from(found.f_type) == i128::from(NSFS_MAGIC))
}

fn enter(path: &Path) -> Result<Netns, NetworkError> {
    let file = open(path)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| {
        NetworkError::File { action: "enter network namespace", path: path.to_owned(), source: errno.into() }
    })?;
    connect(path, file)
}

fn make(path: &Path) -> Result<Netns, NetworkError> {
    let failed = |action, source| NetworkError::File { action, path: path.to_owned(), source };
    // What a dead agent left half-made.
    remove(path)?;
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| failed("make the network namespace of", errno.into()))?;
    for (name, value) in SETTINGS {
        sysctl::set(name, value)?;
    }
    sysctl::set_if_there(NO_IPV6.0, NO_IPV6.1)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(path)
        .map_err(|source| failed("make", source))?;
    let kept = mount_bind(OWN_NAMESPACE, path)
        .map_err(|errno| failed("bind a network namespace to", errno.into()))
        .and_then(|()| connect(path, open(path)?));
    if kept.is_err() {
        // The first error says more than one of the clean-up would.
        let _ = remove(path);
    }
    kept
}

fn open(path: &Path) -> Result<File, NetworkError> {
    File::open(path).map_err(|source| NetworkError::File { action: "open", path: path.to_owned(), source })
}

fn connect(path: &Path, file: File) -> Result<Netns, NetworkError> {
    let connection = Connection::open().map_err(|source| NetworkError::File {
        action: "open a netlink socket in",
        path: path.to_owned(),
        source,
    })?;
    Ok(Netns { file, connection })
}

/// Runs the work on a new thread, which may change namespaces as it likes, with the runtime entered.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send + 'static,
) -> Result<T, NetworkError> {
    let runtime = tokio::runtime::Handle::current();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let run = move || {
        let _entered = runtime.enter();
        // The receiver is gone only when the whole runtime is.
        let _ = sender.send(work());
    };
    std::thread::Builder::new().name("netns".into()).spawn(run).map_err(|source| NetworkError::File {
        action: "start a thread for",
        path: PathBuf::from(OWN_NAMESPACE),
        source,
    })?;
    receiver.await.map_err(|_| NetworkError::Stopped)?
}
