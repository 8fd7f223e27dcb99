//! Attestation: a container that is as asked passes, and each thing that is not is named. The mutants are the
//! honest kind: the runtime makes one specification, the attestation is shown another.

use std::os::fd::AsFd;

use agent_runtime::attest::{AttestError, HostView, attest};
use agent_runtime::container::{ContainerSpec, SeccompPolicy};
use agent_runtime::defaults;
use agent_runtime::process::Spawned;
use oci_spec::runtime::{
    Capability, Linux, LinuxCpuBuilder, LinuxMemoryBuilder, LinuxNamespaceType, LinuxPidsBuilder, Mount,
    PosixRlimitBuilder, PosixRlimitType, Process, Root,
};

use crate::lab::{Lab, Running};

/// A container at its gate, and the host it is on.
struct Gated {
    spawned: Option<Spawned>,
    pid: i32,
    host: HostView,
}

impl Gated {
    fn new(lab: &Lab, spec: &ContainerSpec) -> Gated {
        let spawned = lab.create(spec).unwrap_or_else(|error| panic!("create: {error}"));
        let own = i32::try_from(std::process::id()).expect("a process id");
        let host = HostView::observe(Some(own)).expect("the host");
        Gated { pid: spawned.pid, spawned: Some(spawned), host }
    }

    /// The properties that differ.
    fn differs(&self, spec: &ContainerSpec) -> Vec<String> {
        match attest(spec, self.pid, None, &self.host) {
            Ok(()) => Vec::new(),
            Err(AttestError::Differs(found)) => found.into_iter().map(|found| found.property).collect(),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        if let Some(Spawned {
            pid, pidfd, gate, cgroup, stdin, stdout, stderr, terminal, namespaces, ..
        }) = self.spawned.take()
        {
            drop(gate);
            let handles = crate::lab::Handles { pidfd, stdin, stdout, stderr, terminal, cgroup, namespaces };
            drop(Running { pid, spawned: Some(handles) });
        }
    }
}

fn linux(spec: &mut ContainerSpec) -> &mut Linux {
    spec.oci.linux_mut().as_mut().expect("linux")
}

fn process(spec: &mut ContainerSpec) -> &mut Process {
    spec.oci.process_mut().as_mut().expect("a process")
}

fn without(spec: &mut ContainerSpec, kind: LinuxNamespaceType) {
    let namespaces = linux(spec).namespaces_mut().as_mut().expect("namespaces");
    namespaces.retain(|namespace| namespace.typ() != kind);
}

/// A container with as many limits as there are.
fn limited(lab: &Lab) -> ContainerSpec {
    let mut spec = lab.spec(&["sleep", "60"]);
    if let Some(resources) = linux(&mut spec).resources_mut() {
        resources.set_memory(Some(LinuxMemoryBuilder::default().limit(64 << 20).build().expect("memory")));
        resources.set_cpu(Some(LinuxCpuBuilder::default().quota(50_000).build().expect("cpu")));
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(100).build().expect("pids")));
    }
    process(&mut spec).user_mut().set_uid(33).set_gid(34).set_additional_gids(Some(vec![35]));
    process(&mut spec).set_oom_score_adj(Some(500));
    spec
}

#[test]
fn a_container_that_is_as_asked_passes() {
    let lab = Lab::new();
    // One after the other: making a specification gives the upper layer to its user.
    let spec = lab.spec_for(None, &["sleep", "60"]);
    assert_eq!(Gated::new(&lab, &spec).differs(&spec), [""; 0]);
    let spec = limited(&lab);
    assert_eq!(Gated::new(&lab, &spec).differs(&spec), [""; 0]);
    let mut spec = lab.spec(&["sleep", "60"]);
    let mut root = Root::default();
    root.set_readonly(Some(true));
    spec.oci.set_root(Some(root));
    spec.terminal = Some(agent_runtime::container::WindowSize { rows: 24, columns: 80 });
    assert_eq!(Gated::new(&lab, &spec).differs(&spec), [""; 0]);
}

#[test]
fn a_mount_that_a_link_led_elsewhere_is_found_there() {
    let lab = Lab::new();
    std::fs::create_dir(lab.lower().join("run")).expect("a directory");
    std::os::unix::fs::symlink("../run", lab.lower().join("etc/linked")).expect("a link");
    let mut spec = lab.spec(&["sleep", "60"]);
    spec.oci.mounts_mut().as_mut().expect("mounts").push(tmpfs("/etc/linked/here"));
    assert_eq!(Gated::new(&lab, &spec).differs(&spec), [""; 0]);
}

fn tmpfs(at: &str) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(at.into())
        .set_typ(Some("tmpfs".to_owned()))
        .set_options(Some(vec!["nosuid".to_owned()]));
    mount
}

/// What the runtime made and what was asked for differ in one thing each.
type Change = (&'static str, fn(&mut ContainerSpec), &'static [&'static str]);

/// Weakens what is made; the attestation sees what was asked for.
const WEAKER: &[Change] = &[
    ("no filter", |spec| spec.seccomp = SeccompPolicy::Unconfined, &["Seccomp"]),
    (
        "new privileges",
        |spec| {
            process(spec).set_no_new_privileges(Some(false));
        },
        &["NoNewPrivs"],
    ),
    (
        "one capability more",
        |spec| {
            let mut more: std::collections::HashSet<Capability> =
                defaults::CAPABILITIES.into_iter().collect();
            more.insert(Capability::SysAdmin);
            let mut sets = oci_spec::runtime::LinuxCapabilities::default();
            sets.set_bounding(Some(more.clone())).set_permitted(Some(more.clone())).set_effective(Some(more));
            sets.set_inheritable(None).set_ambient(None);
            process(spec).set_capabilities(Some(sets));
        },
        &["CapPrm", "CapEff", "CapBnd"],
    ),
    (
        "no user namespace",
        |spec| {
            without(spec, LinuxNamespaceType::User);
            linux(spec).set_uid_mappings(None).set_gid_mappings(None);
        },
        &["Uid", "Gid", "Groups", "uid_map", "gid_map", "ns/user", "mount /"],
    ),
    (
        "another range",
        |spec| {
            let run = oci_spec::runtime::LinuxIdMappingBuilder::default()
                .container_id(0_u32)
                .host_id(9_000_000_u32);
            let run = run.size(65_536_u32).build().expect("a run");
            linux(spec).set_uid_mappings(Some(vec![run])).set_gid_mappings(Some(vec![run]));
        },
        &["Uid", "Gid", "Groups", "uid_map", "gid_map"],
    ),
    (
        "another user",
        |spec| {
            process(spec).user_mut().set_uid(1000);
        },
        &["Uid"],
    ),
    (
        "a group more",
        |spec| {
            process(spec).user_mut().set_additional_gids(Some(vec![42]));
        },
        &["Groups"],
    ),
    (
        "the host's ipc",
        |spec| {
            without(spec, LinuxNamespaceType::Ipc);
            spec.oci.mounts_mut().as_mut().expect("mounts").retain(|m| m.typ().as_deref() != Some("mqueue"));
        },
        &["ns/ipc", "mount /dev/mqueue"],
    ),
    (
        "the host's network",
        |spec| {
            without(spec, LinuxNamespaceType::Network);
            linux(spec).set_sysctl(None);
        },
        &["ns/net"],
    ),
    ("the host's cgroup namespace", |spec| without(spec, LinuxNamespaceType::Cgroup), &["ns/cgroup"]),
    (
        "the host's names",
        |spec| {
            without(spec, LinuxNamespaceType::Uts);
            spec.oci.set_hostname(None);
        },
        &["ns/uts"],
    ),
    (
        "no mask",
        |spec| {
            let masked = linux(spec).masked_paths_mut().as_mut().expect("masks");
            masked.retain(|path| path != "/proc/keys");
        },
        &["masked /proc/keys"],
    ),
    (
        "no masked directory",
        |spec| {
            let masked = linux(spec).masked_paths_mut().as_mut().expect("masks");
            masked.retain(|path| path != "/sys/firmware");
        },
        &["masked /sys/firmware"],
    ),
    (
        "writable settings",
        |spec| {
            let paths = linux(spec).readonly_paths_mut().as_mut().expect("paths");
            paths.retain(|path| path != "/proc/sys");
        },
        &["read-only /proc/sys"],
    ),
    (
        "a mount more",
        |spec| spec.oci.mounts_mut().as_mut().expect("mounts").push(tmpfs("/mnt/x")),
        &["mount /mnt/x"],
    ),
    (
        "a mount less",
        |spec| {
            spec.oci
                .mounts_mut()
                .as_mut()
                .expect("mounts")
                .retain(|m| m.destination().to_str() != Some("/dev/shm"));
        },
        &["mount /dev/shm"],
    ),
    (
        "a writable sysfs",
        |spec| {
            for mount in spec.oci.mounts_mut().iter_mut().flatten() {
                if mount.destination().to_str() == Some("/sys/fs/cgroup") {
                    mount.set_options(Some(vec!["nosuid".to_owned()]));
                }
            }
        },
        &["mount /sys/fs/cgroup", "mount /sys/fs/cgroup", "mount /sys/fs/cgroup"],
    ),
    (
        "no pids limit",
        |spec| {
            linux(spec).resources_mut().as_mut().expect("resources").set_pids(None);
        },
        &["Pids limit"],
    ),
    (
        "another cgroup",
        |spec| {
            let path = format!("{}x", linux(spec).cgroups_path().clone().expect("a path").display());
            linux(spec).set_cgroups_path(Some(path.into()));
        },
        &["cgroup"],
    ),
];

#[test]
fn everything_weaker_than_asked_is_named() {
    let lab = Lab::new();
    for (name, weaken, properties) in WEAKER {
        let asked = lab.spec(&["sleep", "60"]);
        let mut made = asked.clone();
        weaken(&mut made);
        let differs = Gated::new(&lab, &made).differs(&asked);
        if *name == "another cgroup" {
            // Of every hierarchy; and its limits are those of a cgroup that is not there.
            assert!(differs.iter().filter(|name| name.starts_with("cgroup")).count() > 1, "{differs:?}");
            continue;
        }
        assert_eq!(differs, *properties, "{name}");
    }
}

#[test]
fn limits_that_are_too_wide_are_named() {
    let lab = Lab::new();
    let asked = limited(&lab);
    let mut made = asked.clone();
    if let Some(resources) = linux(&mut made).resources_mut() {
        resources.set_memory(Some(LinuxMemoryBuilder::default().limit(65 << 20).build().expect("memory")));
        resources.set_cpu(Some(LinuxCpuBuilder::default().quota(51_000).build().expect("cpu")));
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(101).build().expect("pids")));
    }
    let files =
        PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(2048_u64).hard(2048_u64);
    process(&mut made).set_rlimits(Some(vec![files.build().expect("a limit")]));
    process(&mut made).set_oom_score_adj(Some(0));
    let differs = Gated::new(&lab, &made).differs(&asked);
    assert_eq!(differs, ["Max open files", "oom_score_adj", "Pids limit", "Memory limit", "Cpu limit"]);
}

#[test]
fn a_root_that_is_the_hosts_or_of_another_kind_is_named() {
    let lab = Lab::new();
    let asked = lab.spec_for(None, &["sleep", "60"]);
    let mut made = asked.clone();
    made.rootfs = agent_runtime::container::Rootfs::Directory { path: lab.lower(), read_only: false };
    assert_eq!(Gated::new(&lab, &made).differs(&asked), ["mount /"]);
    let mut read_only = asked.clone();
    let mut root = Root::default();
    root.set_readonly(Some(true));
    read_only.oci.set_root(Some(root));
    assert_eq!(Gated::new(&lab, &asked).differs(&read_only), ["mount /"]);
}

/// Tampering with the real thing: the limit is raised, and the process moved, after the container was made.
#[test]
fn what_is_changed_behind_the_runtimes_back_is_seen() {
    let lab = Lab::new();
    let spec = lab.spec(&["sleep", "60"]);
    let gated = Gated::new(&lab, &spec);
    assert_eq!(gated.differs(&spec), [""; 0]);
    let below = |hierarchy: &str| format!("/sys/fs/cgroup/{hierarchy}{}", lab.cgroup_path());
    let pids = if lab.staging_is_v1() { below("pids") } else { below("") };
    std::fs::write(format!("{pids}/pids.max"), "max").expect("raised");
    assert_eq!(gated.differs(&spec), ["Pids limit"]);
    let out = std::path::Path::new(&pids).parent().expect("a parent").join("cgroup.procs");
    std::fs::write(out, gated.pid.to_string()).expect("moved");
    assert!(gated.differs(&spec).contains(&"cgroup pids".to_owned()));
}

#[test]
fn another_process_is_not_taken_for_the_container() {
    let lab = Lab::new();
    let spec = lab.spec(&["sleep", "60"]);
    let mut gated = Gated::new(&lab, &spec);
    gated.pid = i32::try_from(std::process::id()).expect("a process id");
    let differs = gated.differs(&spec);
    assert!(
        ["PPid", "ns/pid", "cgroup pids"].iter().all(|name| differs.iter().any(|d| d == name)),
        "{differs:?}"
    );
    gated.pid = 4_000_000;
    let error = attest(&spec, gated.pid, None, &gated.host).expect_err("nobody");
    assert!(matches!(error, AttestError::Unreadable { .. }), "{error}");
}

#[test]
fn a_given_network_is_that_one() {
    let lab = Lab::new();
    let spec = lab.spec(&["sleep", "60"]);
    let gated = Gated::new(&lab, &spec);
    let own = std::fs::File::open("/proc/self/ns/net").expect("a namespace");
    let Err(AttestError::Differs(found)) = attest(&spec, gated.pid, Some(own.as_fd()), &gated.host) else {
        panic!("its own network is not the one that was handed over");
    };
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().starts_with("ns/net: asked for "), "{}", found[0]);
}

/// Not a benchmark: a guard against a mistake that makes it ten times dearer.
#[test]
fn it_costs_little() {
    let lab = Lab::new();
    let spec = limited(&lab);
    let gated = Gated::new(&lab, &spec);
    let mut all: Vec<u128> = (0..200)
        .map(|_| {
            let since = std::time::Instant::now();
            assert_eq!(gated.differs(&spec), [""; 0]);
            since.elapsed().as_micros()
        })
        .collect();
    all.sort_unstable();
    assert!(all[100] < 5_000, "median {} us, fastest {} us", all[100], all[0]);
}
