//! The OCI specification of a container nobody asked anything special of: Docker's defaults, and confined
//! beyond them (a user namespace, no new privileges, a private cgroup namespace, a pids limit).

use std::collections::{HashMap, HashSet};

use oci_spec::runtime::{
    Capability, Linux, LinuxCapabilities, LinuxDeviceCgroup, LinuxDeviceType, LinuxIdMappingBuilder,
    LinuxNamespace, LinuxNamespaceType, LinuxPidsBuilder, LinuxResources, Mount, PosixRlimitBuilder,
    PosixRlimitType, Process, Root, Spec,
};

/// Ids a container owns: container id 0 is `base` on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id on the host.
    pub base: u32,
    /// How many.
    pub size: u32,
}

/// Processes and threads a container may have where nobody says otherwise.
pub const PIDS_LIMIT: i64 = 1024;

/// `PATH` where the image does not set one.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The capabilities of an ordinary container.
pub const CAPABILITIES: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Paths of the kernel a container has no business reading.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths of the kernel a container may read and not write.
pub const READ_ONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The default specification. `ids` makes a private user namespace, `None` shares the host's.
///
/// To be filled in by the caller: `process.args`, `process.env` (only `PATH` is set), `process.cwd`,
/// `process.user`, `hostname`, `linux.cgroupsPath`, `linux.resources` limits, bind mounts.
pub fn spec(ids: Option<IdRange>) -> Spec {
    let mut spec = Spec::default();
    let mut root = Root::default();
    root.set_readonly(Some(false));
    spec.set_root(Some(root));
    spec.set_process(Some(process()));
    spec.set_mounts(Some(mounts()));
    spec.set_linux(Some(linux(ids)));
    spec.set_hostname(None);
    spec
}

fn process() -> Process {
    let set: HashSet<Capability> = CAPABILITIES.into_iter().collect();
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(set.clone()))
        .set_permitted(Some(set.clone()))
        .set_effective(Some(set))
        .set_inheritable(None)
        .set_ambient(None);
    let open_files = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .soft(1024_u64)
        .hard(524_288_u64)
        .build()
        .expect("a limit of open files has all its fields");
    let mut process = Process::default();
    process
        .set_args(None)
        .set_env(Some(vec![PATH.to_owned()]))
        .set_cwd("/".into())
        .set_capabilities(Some(capabilities))
        .set_rlimits(Some(vec![open_files]))
        .set_no_new_privileges(Some(true));
    process
}

/// Docker's mounts, in its order.
fn mounts() -> Vec<Mount> {
    let mount = |at: &str, kind: &str, options: &[&str]| {
        let mut mount = Mount::default();
        mount
            .set_destination(at.into())
            .set_typ(Some(kind.to_owned()))
            .set_source(Some(kind.into()))
            .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
        mount
    };
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ]
}

fn linux(ids: Option<IdRange>) -> Linux {
    use LinuxNamespaceType as Type;
    let mut kinds = vec![Type::Mount, Type::Pid, Type::Ipc, Type::Uts, Type::Cgroup, Type::Network];
    let mut linux = Linux::default();
    if let Some(ids) = ids {
        kinds.push(Type::User);
        let map = LinuxIdMappingBuilder::default()
            .container_id(0_u32)
            .host_id(ids.base)
            .size(ids.size)
            .build()
            .expect("an id mapping has all its fields");
        linux.set_uid_mappings(Some(vec![map])).set_gid_mappings(Some(vec![map]));
    }
    let namespace = |kind: Type| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind).set_path(None);
        namespace
    };
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(device_rules())).set_pids(Some(
        LinuxPidsBuilder::default().limit(PIDS_LIMIT).build().expect("a pids limit has all its fields"),
    ));
    // Ports below 1024 and ping sockets need privileges over the network namespace, which is the host's and
    // not the container's; inside it they hurt nobody.
    let sysctls =
        [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];
    linux
        .set_namespaces(Some(kinds.into_iter().map(namespace).collect()))
        .set_resources(Some(resources))
        .set_sysctl(Some(HashMap::from(sysctls.map(|(name, value)| (name.to_owned(), value.to_owned())))))
        .set_masked_paths(Some(MASKED_PATHS.map(str::to_owned).into()))
        .set_readonly_paths(Some(READ_ONLY_PATHS.map(str::to_owned).into()))
        .set_devices(None);
    linux
}

/// Nothing but making nodes (which a user namespace forbids anyway), the harmless devices and terminals.
fn device_rules() -> Vec<LinuxDeviceCgroup> {
    use LinuxDeviceType::{A, B, C};
    let rule = |allow: bool, kind: LinuxDeviceType, major: Option<i64>, minor: Option<i64>, access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(allow)
            .set_typ(Some(kind))
            .set_major(major)
            .set_minor(minor)
            .set_access(Some(access.to_owned()));
        rule
    };
    let mut rules = vec![
        rule(false, A, None, None, "rwm"),
        rule(true, C, None, None, "m"),
        rule(true, B, None, None, "m"),
        rule(true, C, Some(136), None, "rwm"),
    ];
    // 5:1 is the console of the host. That of a container with a terminal is its own, one of 136.
    let devices = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];
    rules.extend(devices.map(|(major, minor)| rule(true, C, Some(major), Some(minor), "rwm")));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::CapSet;

    #[test]
    fn inheritable_and_ambient_capabilities_are_empty() {
        let spec = spec(Some(IdRange { base: 1_048_576, size: 65_536 }));
        let process = spec.process().as_ref().expect("a process");
        let capabilities = process.capabilities().as_ref().expect("capabilities");
        assert!(capabilities.inheritable().is_none() && capabilities.ambient().is_none());
        assert_eq!(CapSet::from_oci(&CAPABILITIES).0.count_ones(), 14);
    }

    #[test]
    fn the_specification_survives_json() {
        let spec = spec(None);
        let json = serde_json::to_string(&spec).expect("it serialises");
        assert_eq!(serde_json::from_str::<Spec>(&json).expect("it parses"), spec);
    }
}
