//! A host: a network namespace with its own loopback, its own ports and, on a
//! [`Lan`], an address that others reach. Everything else (files, processes,
//! cgroups) is the machine's.

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::programs;

static COUNT: AtomicU32 = AtomicU32::new(0);

fn unique(label: &str) -> String {
    format!("rt{}-{}-{label}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn ip(arguments: &str) {
    programs::succeed(Command::new("ip").args(arguments.split(' ')));
}

/// One host.
#[derive(Debug)]
pub struct Host {
    name: String,
    address: Option<String>,
}

impl Host {
    /// A host of its own, without any link but loopback.
    ///
    /// # Panics
    /// Without root, iproute2 or nsenter.
    pub fn new(label: &str) -> Self {
        programs::need_root();
        programs::need("ip", "iproute2");
        programs::need("nsenter", "util-linux");
        let name = unique(label);
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        Self { name, address: None }
    }

    /// Everything of the network is as after a restart of the host. What ran on it must have ended.
    ///
    /// # Panics
    /// When the namespace cannot be made again.
    pub fn restart(&self) {
        ip(&format!("netns del {}", self.name));
        ip(&format!("netns add {}", self.name));
        ip(&format!("-n {} link set lo up", self.name));
    }

    /// A command that runs on this host. `ip netns exec` would hide the cgroups
    /// behind a fresh /sys, so the namespace is entered alone.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }

    /// A socket of this process that listens on this host.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn listen(&self, address: &str) -> TcpListener {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.name)).expect("the host exists");
        let address = address.to_owned();
        // A thread of its own: the namespace is the thread's, and where a socket was made it stays.
        let listening = std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("we are root");
            TcpListener::bind(address).expect("the address is free")
        });
        listening.join().expect("a free address")
    }

    /// The address on the LAN.
    ///
    /// # Panics
    /// When the host is on none.
    pub fn address(&self) -> &str {
        self.address.as_deref().expect("the host was made by Lan::host")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What still runs in it keeps it alive without a name; the tests check for that by themselves.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// A network that hosts are plugged into: a bridge in a namespace of its own,
/// with addresses from TEST-NET-1 that lead nowhere else.
#[derive(Debug)]
pub struct Lan {
    switch: Host,
    hosts: AtomicU32,
}

impl Lan {
    /// A network without hosts.
    ///
    /// # Panics
    /// Without root or iproute2.
    #[expect(clippy::new_without_default, reason = "it makes things on the machine; a default should not")]
    pub fn new() -> Self {
        let switch = Host::new("switch");
        ip(&format!("-n {} link add lan type bridge", switch.name));
        ip(&format!("-n {} link set lan up", switch.name));
        Self { switch, hosts: AtomicU32::new(0) }
    }

    /// A new host on this network.
    ///
    /// # Panics
    /// When the kernel refuses a link.
    pub fn host(&self, label: &str) -> Host {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let mut host = Host::new(label);
        let (switch, name) = (&self.switch.name, &host.name);
        ip(&format!("-n {switch} link add port{number} type veth peer name eth0 netns {name}"));
        ip(&format!("-n {switch} link set port{number} master lan up"));
        let address = format!("192.0.2.{number}");
        ip(&format!("-n {name} addr add {address}/24 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        host.address = Some(address);
        host
    }
}
