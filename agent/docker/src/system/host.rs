//! What `info` says of the machine, read from the kernel when it is asked.

use std::path::Path;

use serde_json::{Value, json};

const CGROUPS: &str = "/sys/fs/cgroup";

/// The machine's part of `info`.
pub(super) fn facts() -> Value {
    let unified = controllers();
    let has = |name: &str| match &unified {
        Some(controllers) => controllers.split_whitespace().any(|found| found == name),
        None => Path::new(CGROUPS).join(name).exists(),
    };
    let has_file = |name: &str| Path::new(CGROUPS).join(name).exists();
    json!({
        "Name": read("/proc/sys/kernel/hostname").trim(),
        "OperatingSystem": release("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
        "OSVersion": release("VERSION_ID").unwrap_or_default(),
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "KernelVersion": kernel(),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory(&read("/proc/meminfo")),
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if unified.is_some() { "2" } else { "1" },
        "MemoryLimit": has("memory"),
        "SwapLimit": if unified.is_some() { has("memory") } else { has_file("memory/memory.memsw.limit_in_bytes") },
        "OomKillDisable": unified.is_none() && has_file("memory/memory.oom_control"),
        "CpuCfsPeriod": has("cpu"),
        "CpuCfsQuota": has("cpu"),
        "CPUShares": has("cpu"),
        "CPUSet": has("cpuset"),
        "PidsLimit": has("pids"),
        "IPv4Forwarding": is_on("/proc/sys/net/ipv4/ip_forward"),
        "BridgeNfIptables": is_on("/proc/sys/net/bridge/bridge-nf-call-iptables"),
        "BridgeNfIp6tables": is_on("/proc/sys/net/bridge/bridge-nf-call-ip6tables"),
    })
}

/// Go's name of this machine's architecture, which Docker uses for images.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The kernel's release.
pub(super) fn kernel() -> String {
    read("/proc/sys/kernel/osrelease").trim().to_owned()
}

/// The controllers of version 2; `None` where version 1 has them.
fn controllers() -> Option<String> {
    std::fs::read_to_string(Path::new(CGROUPS).join("cgroup.controllers")).ok()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn is_on(path: &str) -> bool {
    read(path).trim() == "1"
}

fn release(key: &str) -> Option<String> {
    value(&read("/etc/os-release"), key)
}

/// A value of os-release, which may be quoted as in a shell.
fn value(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.trim().trim_matches(['"', '\'']).to_owned())
}

/// Bytes of memory, from /proc/meminfo, which counts in KiB.
fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).map_or(0, |kib: u64| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_and_distributions_files_are_understood() {
        assert_eq!(memory("MemTotal:        2048 kB\nMemFree: 1 kB\n"), 2_097_152);
        assert_eq!(memory(""), 0);
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=12\n";
        assert_eq!(value(text, "PRETTY_NAME").as_deref(), Some("Debian GNU/Linux 12"));
        assert_eq!(value(text, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(value(text, "VERSION"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_memory() {
        let facts = facts();
        assert!(facts["MemTotal"].as_u64().is_some_and(|bytes| bytes > 0));
        assert!(facts["KernelVersion"].as_str().is_some_and(|release| !release.is_empty()));
    }
}
