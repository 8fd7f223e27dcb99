//! What a specification promises about the process, in the kernel's terms. Pure.
//!
//! Derived from the specification alone, never through the planner: what the planner gets wrong must differ here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use oci_spec::runtime::{Capability, LinuxIdMapping, LinuxNamespaceType, Mount, PosixRlimitType, Process};

use super::mounts::Mounts;
use crate::capabilities::CapSet;
use crate::container::{ContainerSpec, ExecSpec, Rootfs, SeccompPolicy};

/// The whole promise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// As the host numbers them; `None` is an id the container does not have.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub groups: BTreeSet<Option<u32>>,
    /// At most these: bounding, permitted, effective, inheritable, ambient.
    pub bounding: u64,
    pub permitted: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub ambient: u64,
    pub no_new_privs: bool,
    pub filtered: bool,
    /// Empty without a user namespace of its own.
    pub uid_map: Vec<[u32; 3]>,
    pub gid_map: Vec<[u32; 3]>,
    pub namespaces: Vec<(&'static str, Namespace)>,
    pub cgroup: String,
    pub root: Root,
    pub mounts: Vec<Asked>,
    pub masked: Vec<String>,
    pub read_only: Vec<String>,
    /// Kernel's name, soft and hard; `None` is unlimited.
    pub limits: Vec<(&'static str, Option<u64>, Option<u64>)>,
    pub oom_score: Option<i32>,
    /// Controller and its limit.
    pub resources: Vec<(Limited, u64)>,
    /// Namespaces of the mounts' propagation: the specification asks for it somewhere.
    pub shared: bool,
    pub slave: bool,
}

/// Where a namespace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Namespace {
    /// Made for the container.
    Own,
    /// The host's.
    Host,
    /// This one.
    Given(u64),
}

/// The root filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Root {
    pub overlay: bool,
    pub read_only: bool,
    pub nodev: bool,
}

/// A mount that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub at: String,
    /// Of these types; empty is any.
    pub fstypes: &'static [&'static str],
    /// Flags it must have.
    pub flags: Vec<&'static str>,
    /// Mounts below it belong to it.
    pub tree: bool,
}

/// A limit that the cgroup must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limited {
    Memory,
    Pids,
    /// In thousandths of a processor.
    Cpu,
}

/// What is only known by looking: inodes of the namespaces that are joined, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outside {
    pub joined: Vec<(&'static str, u64)>,
}

/// Kinds by the kernel's and the specification's name.
pub(super) const KINDS: [(&str, LinuxNamespaceType); 8] = [
    ("user", LinuxNamespaceType::User),
    ("mnt", LinuxNamespaceType::Mount),
    ("pid", LinuxNamespaceType::Pid),
    ("ipc", LinuxNamespaceType::Ipc),
    ("uts", LinuxNamespaceType::Uts),
    ("net", LinuxNamespaceType::Network),
    ("cgroup", LinuxNamespaceType::Cgroup),
    ("time", LinuxNamespaceType::Time),
];

const FLAGS: [&str; 4] = ["ro", "nosuid", "nodev", "noexec"];

pub(super) fn of(spec: &ContainerSpec, outside: &Outside) -> Expected {
    let mut expected = Expected::default();
    let linux = spec.oci.linux().clone().unwrap_or_default();
    expected.uid_map = runs(linux.uid_mappings().as_deref());
    expected.gid_map = runs(linux.gid_mappings().as_deref());
    if let Some(process) = spec.oci.process() {
        expected.add_process(process);
    }
    expected.filtered = linux.seccomp().is_some() || spec.seccomp != SeccompPolicy::Unconfined;
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    for (name, kind) in KINDS {
        let namespace = match outside.joined.iter().find(|(joined, _)| *joined == name) {
            Some((_, inode)) => Namespace::Given(*inode),
            None if listed.iter().any(|asked| asked.typ() == kind) => Namespace::Own,
            None if name == "user" && !expected.uid_map.is_empty() => Namespace::Own,
            None => Namespace::Host,
        };
        expected.namespaces.push((name, namespace));
    }
    expected.cgroup = linux.cgroups_path().clone().unwrap_or_default().display().to_string();
    let read_only = spec.oci.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
    expected.root = Root {
        overlay: matches!(spec.rootfs, Rootfs::Overlay { .. }),
        read_only: read_only || matches!(spec.rootfs, Rootfs::Directory { read_only: true, .. }),
        nodev: !expected.uid_map.is_empty(),
    };
    let mounts = spec.oci.mounts().as_deref().unwrap_or_default();
    expected.mounts = mounts.iter().map(asked).collect();
    let mentions = |word: &str| {
        let in_options =
            |mount: &Mount| mount.options().iter().flatten().any(|option| option.ends_with(word));
        mounts.iter().any(in_options)
            || linux.rootfs_propagation().as_ref().is_some_and(|p| p.ends_with(word))
    };
    (expected.shared, expected.slave) = (mentions("shared"), mentions("slave"));
    expected.masked = linux.masked_paths().clone().unwrap_or_default();
    expected.read_only = linux.readonly_paths().clone().unwrap_or_default();
    if let Some(resources) = linux.resources() {
        let pids = resources.pids().as_ref().map(|pids| pids.limit());
        let memory = resources.memory().as_ref().and_then(|memory| memory.limit());
        let cpu = resources.cpu().as_ref().and_then(|cpu| {
            let period = i64::try_from(cpu.period().unwrap_or(100_000)).ok().filter(|period| *period > 0)?;
            cpu.quota()?.checked_mul(1000)?.checked_div(period)
        });
        for (what, limit) in [(Limited::Pids, pids), (Limited::Memory, memory), (Limited::Cpu, cpu)] {
            if let Some(limit) = limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0)
            {
                expected.resources.push((what, limit));
            }
        }
    }
    expected
}

/// What is promised of a further process: who it is by its own specification, where it is by its container's, whose
/// first process is in the namespaces `joined`.
pub(super) fn of_exec(
    spec: &ContainerSpec,
    exec: &ExecSpec,
    joined: &BTreeMap<&'static str, u64>,
) -> Expected {
    let mut expected = Expected::default();
    let linux = spec.oci.linux().clone().unwrap_or_default();
    expected.uid_map = runs(linux.uid_mappings().as_deref());
    expected.gid_map = runs(linux.gid_mappings().as_deref());
    expected.add_process(&exec.process);
    expected.filtered = exec.profile.is_some() || exec.seccomp != SeccompPolicy::Unconfined;
    expected.namespaces = joined.iter().map(|(kind, inode)| (*kind, Namespace::Given(*inode))).collect();
    expected.cgroup = linux.cgroups_path().clone().unwrap_or_default().display().to_string();
    expected
}

impl Expected {
    fn add_process(&mut self, process: &Process) {
        let user = process.user();
        self.uid = on_host(user.uid(), &self.uid_map);
        self.gid = on_host(user.gid(), &self.gid_map);
        let extra = user.additional_gids().clone().unwrap_or_default();
        self.groups = extra.iter().chain([&user.gid()]).map(|gid| on_host(*gid, &self.gid_map)).collect();
        if let Some(sets) = process.capabilities() {
            let bits = |set: &Option<std::collections::HashSet<Capability>>| {
                CapSet::from_oci(set.iter().flatten()).0
            };
            self.bounding = bits(sets.bounding());
            self.inheritable = bits(sets.inheritable());
            self.ambient = bits(sets.ambient());
            self.permitted = bits(sets.permitted()) & self.bounding;
            self.effective = bits(sets.effective()) & self.permitted;
        }
        if user.uid() != 0 {
            // Nothing but what is ambient survives the execution of a program by another user.
            (self.permitted, self.effective) = (self.permitted & self.ambient, self.effective & self.ambient);
        }
        self.no_new_privs = process.no_new_privileges().unwrap_or(false);
        self.oom_score = process.oom_score_adj();
        let value = |value: u64| (value != u64::MAX).then_some(value);
        for limit in process.rlimits().iter().flatten() {
            self.limits.push((kernel_name(limit.typ()), value(limit.soft()), value(limit.hard())));
        }
    }

    /// Paths that must be looked up in the container, because no mount is directly on them: links may lead to
    /// the mount, or there is nothing to hide.
    pub(super) fn to_look_up<'a>(&'a self, mounts: &Mounts) -> Vec<&'a str> {
        let at = self.mounts.iter().map(|asked| asked.at.as_str());
        let is_direct = |path: &str| mounts.visible(path).is_some_and(|mount| mount.point == path);
        let plain = at.chain(self.read_only.iter().map(String::as_str)).filter(|path| !is_direct(path));
        let is_masked = |path: &str| {
            mounts.visible(path).is_some_and(|mount| mount.point == path && mount.is_plain_mask())
        };
        let masked = self.masked.iter().map(String::as_str).filter(|path| !is_masked(path));
        plain.chain(masked).collect()
    }
}

/// The id on the host of the container's `id`.
fn on_host(id: u32, runs: &[[u32; 3]]) -> Option<u32> {
    if runs.is_empty() {
        return Some(id);
    }
    runs.iter().find_map(|[inside, outside, size]| {
        let offset = id.checked_sub(*inside).filter(|offset| offset < size)?;
        outside.checked_add(offset)
    })
}

fn runs(given: Option<&[LinuxIdMapping]>) -> Vec<[u32; 3]> {
    given.unwrap_or_default().iter().map(|run| [run.container_id(), run.host_id(), run.size()]).collect()
}

fn asked(mount: &Mount) -> Asked {
    let at = mount.destination().as_path();
    let options = mount.options().as_deref().unwrap_or_default();
    let has = |wanted: &str| options.iter().any(|option| option == wanted);
    let bind = has("bind") || has("rbind") || mount.typ().as_deref() == Some("bind");
    let (fstypes, tree): (&'static [&'static str], bool) = match mount.typ().as_deref() {
        _ if bind => (&[], true),
        Some("proc") => (&["proc"], false),
        Some("sysfs") => (&["sysfs"], false),
        // Devices are mounts in it.
        Some("tmpfs") => (&["tmpfs"], at == Path::new("/dev")),
        Some("devpts") => (&["devpts"], false),
        Some("mqueue") => (&["mqueue"], false),
        Some("cgroup" | "cgroup2") => (&["tmpfs", "cgroup2"], true),
        _ => (&[], true),
    };
    // The later of opposites wins.
    let is_set = |flag: &&str| {
        let opposite = match *flag {
            "ro" => "rw",
            "nosuid" => "suid",
            "nodev" => "dev",
            _ => "exec",
        };
        let last = options.iter().rev().find(|option| *option == *flag || *option == opposite);
        last.is_some_and(|option| option == *flag)
    };
    let flags = FLAGS.into_iter().filter(is_set).collect();
    let text = at.display().to_string();
    let at = if text.len() > 1 { text.trim_end_matches('/').to_owned() } else { text };
    Asked { at, fstypes, flags, tree }
}

fn kernel_name(kind: PosixRlimitType) -> &'static str {
    use PosixRlimitType as Kind;
    match kind {
        Kind::RlimitCpu => "Max cpu time",
        Kind::RlimitFsize => "Max file size",
        Kind::RlimitData => "Max data size",
        Kind::RlimitStack => "Max stack size",
        Kind::RlimitCore => "Max core file size",
        Kind::RlimitRss => "Max resident set",
        Kind::RlimitNproc => "Max processes",
        Kind::RlimitNofile => "Max open files",
        Kind::RlimitMemlock => "Max locked memory",
        Kind::RlimitAs => "Max address space",
        Kind::RlimitLocks => "Max file locks",
        Kind::RlimitSigpending => "Max pending signals",
        Kind::RlimitMsgqueue => "Max msgqueue size",
        Kind::RlimitNice => "Max nice priority",
        Kind::RlimitRtprio => "Max realtime priority",
        Kind::RlimitRttime => "Max realtime timeout",
    }
}
