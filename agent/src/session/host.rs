//! What this host is and has, for the scheduler.

use std::fs;

use proto::v1::{Register, Resources};

use super::Node;

/// The host's name, reduced to what a node may be called.
pub fn name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain: String = name
        .trim()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .take(63)
        .collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "node".to_owned() } else { plain.to_owned() }
}

/// The host's name as it is.
pub fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The kernel's release.
pub fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// How this node introduces itself; `address` as others reach it.
pub fn register(node: &Node, address: String) -> Register {
    Register {
        name: node.name.clone(),
        address,
        labels: node.labels.clone().into_iter().collect(),
        capacity: Some(capacity()),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        os: os(),
        architecture: std::env::consts::ARCH.to_owned(),
        kernel: kernel(),
    }
}

/// How much it has of what containers share.
pub fn capacity() -> Resources {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let pids = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    Resources {
        nano_cpus: u64::try_from(cores).unwrap_or(1) * 1_000_000_000,
        memory_bytes: memory_total(&memory).unwrap_or(0),
        pids: pids.trim().parse().unwrap_or(0),
    }
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// As the host calls itself: "Debian GNU/Linux 12 (bookworm)".
pub fn os() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("Linux", |name| name.trim_matches('"')).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(memory_total("MemFree: 1 kB\nMemTotal:        4039680 kB\n"), Some(4_136_632_320));
        assert_eq!(memory_total("MemTotal: much\n"), None);
    }

    #[test]
    fn this_host_has_something() {
        let capacity = capacity();
        assert!(capacity.nano_cpus >= 1_000_000_000 && capacity.memory_bytes > 0);
        assert!(!name().is_empty());
    }
}
