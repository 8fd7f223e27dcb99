//! What this host's kernel has of the things that containers are limited and confined with, and what is done where it
//! lacks one: never silently less. Looked up once, when the engine is opened.
//!
//! [`Host::features`] is for people; [`Host::check`] refuses a request that needs what is not there, by the option's
//! name. Reading and judging are apart, so that other hosts than this one can be tested.

use std::collections::BTreeSet;
use std::path::Path;

use agent_runtime::cgroup::Layout;

use crate::EngineError;
use crate::container::ContainerConfig;
use crate::container::isolation::Seccomp;

mod facts;

use self::facts::Facts;

/// What becomes of something that a kernel may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It is there and used.
    Used,
    /// It is there, and this engine does nothing with it.
    Unused,
    /// It is not there.
    Missing,
}

/// One thing that a kernel may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// What it is called.
    pub name: &'static str,
    /// Whether it is there.
    pub availability: Availability,
    /// What of it there is, or what is done without it.
    pub detail: String,
}

/// What this host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    features: Vec<Feature>,
    hierarchies: Vec<(String, Vec<String>)>,
    filesystem: String,
}

impl Host {
    /// Looks at this host; `data_dir` is where writable layers and volumes lie. Blocking.
    pub fn look(data_dir: &Path) -> Host {
        let layout = Layout::detect().ok();
        let hierarchies = layout.as_ref().map(Layout::mounted).unwrap_or_default();
        Host::of(&Facts::read(layout.as_ref(), &hierarchies), data_dir, hierarchies)
    }

    fn of(facts: &Facts, data_dir: &Path, hierarchies: Vec<(String, Vec<String>)>) -> Host {
        let (filesystem, options) = facts.mount_of(data_dir);
        let mut features = cgroups(facts);
        features.extend(namespaces(facts));
        features.extend(modules(facts));
        features.push(quotas(&filesystem, &options));
        Host { features, hierarchies, filesystem }
    }

    /// All that was looked for, in a fixed order.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// What is not there.
    pub fn lacks(&self) -> impl Iterator<Item = &Feature> {
        self.features.iter().filter(|feature| feature.availability == Availability::Missing)
    }

    /// Where cgroup hierarchies are mounted, and their controllers.
    pub fn hierarchies(&self) -> &[(String, Vec<String>)] {
        &self.hierarchies
    }

    /// The file system that the data directory lies on.
    pub fn filesystem(&self) -> &str {
        &self.filesystem
    }

    /// Bytes of the file system that `path` lies on, and those of them that are free; 0 when it does not say. Blocking.
    pub fn disk(path: &Path) -> (u64, u64) {
        rustix::fs::statvfs(path).map_or((0, 0), |found| {
            (found.f_blocks.saturating_mul(found.f_frsize), found.f_bavail.saturating_mul(found.f_frsize))
        })
    }

    fn missing(&self, name: &str) -> Option<&Feature> {
        self.lacks().find(|feature| feature.name == name)
    }

    /// Refuses what needs something that is not there.
    pub(crate) fn check(&self, config: &ContainerConfig) -> Result<(), EngineError> {
        if self.lacks().next().is_none() {
            return Ok(());
        }
        for (option, asked, needs) in needs(config) {
            if asked && let Some(feature) = self.missing(needs) {
                let rule =
                    format!("this host has no {needs}; {} (`ctl info` shows what it has)", feature.detail);
                return Err(EngineError::invalid(option, rule));
            }
        }
        Ok(())
    }
}

const CPU: &str = "cgroup controller cpu";
const CPUSET: &str = "cgroup controller cpuset";
const DISKS: &str = "cgroup controller io";
const REAL_TIME: &str = "real-time budgets of cgroups";
const WEIGHTS: &str = "weights of disk accesses";
const SWAP: &str = "swap accounting";
const USERS: &str = "user namespaces";
const MAPPED: &str = "overlays with mapped ids";
const SECCOMP: &str = "system call filters";
const QUOTAS: &str = "project quotas";

/// Option, whether it is asked for, and what it needs.
fn needs(config: &ContainerConfig) -> Vec<(&'static str, bool, &'static str)> {
    let (limits, isolation) = (&config.limits, &config.isolation);
    let resources = &isolation.resources;
    let own_users = isolation.own_users();
    let filtered = !isolation.confinement.privileged && isolation.confinement.seccomp != Seccomp::Unconfined;
    vec![
        ("cpus", limits.nano_cpus.is_some(), CPU),
        ("cpu-period", resources.cpu_period.is_some(), CPU),
        ("cpu-quota", resources.cpu_quota.is_some(), CPU),
        ("cpu-shares", resources.cpu_shares.is_some(), CPU),
        ("cpu-rt-runtime", resources.cpu_rt_runtime.is_some(), REAL_TIME),
        ("cpu-rt-period", resources.cpu_rt_period.is_some(), REAL_TIME),
        ("cpuset-cpus", !resources.cpuset_cpus.is_empty(), CPUSET),
        ("cpuset-mems", !resources.cpuset_mems.is_empty(), CPUSET),
        // Without a limit of swap nothing has to be counted.
        ("memory-swap", resources.memory_swap.is_some_and(|bytes| bytes != -1), SWAP),
        ("blkio-weight", resources.blkio_weight.is_some(), WEIGHTS),
        ("blkio-weight-device", !resources.blkio_weight_device.is_empty(), WEIGHTS),
        ("device-read-bps", !resources.device_read_bps.is_empty(), DISKS),
        ("device-write-bps", !resources.device_write_bps.is_empty(), DISKS),
        ("device-read-iops", !resources.device_read_iops.is_empty(), DISKS),
        ("device-write-iops", !resources.device_write_iops.is_empty(), DISKS),
        ("storage-opt", resources.root_bytes.is_some(), QUOTAS),
        ("userns", own_users, USERS),
        ("userns", own_users, MAPPED),
        ("security-opt", filtered, SECCOMP),
    ]
}

fn feature(name: &'static str, there: bool, detail: impl Into<String>, without: &str) -> Feature {
    let (availability, detail) = match there {
        true => (Availability::Used, detail.into()),
        false => (Availability::Missing, without.to_owned()),
    };
    Feature { name, availability, detail }
}

fn cgroups(facts: &Facts) -> Vec<Feature> {
    let has = |controller: &str| facts.controllers.contains(controller);
    let disks = has("io") || has("blkio");
    let version_2 = facts.cgroups == Some("v2");
    vec![
        feature(
            "cgroup version 2",
            version_2,
            "limits are written to it",
            "limits are written to version 1 hierarchies; each container has a private cgroup namespace there too",
        ),
        feature(CPU, has("cpu"), "", "--cpus, --cpu-shares, --cpu-quota and --cpu-period are refused"),
        feature(CPUSET, has("cpuset"), "", "--cpuset-cpus and --cpuset-mems are refused"),
        feature(DISKS, disks, "", "--device-read-bps and its relatives are refused"),
        feature("cgroup controller memory", has("memory"), "", "the agent does not start"),
        feature("cgroup controller pids", has("pids"), "", "the agent does not start"),
        feature(
            SWAP,
            facts.swap.unwrap_or(true),
            "a container with a memory limit has no swap unless it asks for it",
            "--memory-swap is refused, and memory limits do not count swap (boot with swapaccount=1)",
        ),
        feature(
            WEIGHTS,
            facts.weights.unwrap_or(true),
            "",
            "--blkio-weight is refused; it needs the disk scheduler BFQ, or io.cost on version 2",
        ),
        feature(
            REAL_TIME,
            facts.real_time == Some(true),
            "",
            "--cpu-rt-runtime and --cpu-rt-period are refused; they need version 1 and CONFIG_RT_GROUP_SCHED",
        ),
    ]
}

fn namespaces(facts: &Facts) -> Vec<Feature> {
    vec![
        feature(
            USERS,
            facts.user_namespaces > 0,
            "each container has one of its own, with 65,536 ids",
            "containers start with --userns host only (user.max_user_namespaces is 0)",
        ),
        feature(
            MAPPED,
            facts.kernel >= (5, 19),
            "no file of an image is copied to change its owner",
            "they need Linux 5.19; containers start with --userns host only",
        ),
        feature("overlay file systems", facts.overlay, "", "the agent does not start"),
        feature(
            SECCOMP,
            facts.seccomp,
            "Docker's list of system calls, as a search tree",
            "containers start with --security-opt seccomp=unconfined only",
        ),
        feature(
            "counts of open descriptors",
            facts.kernel >= (6, 2),
            "attested at each start",
            "they need Linux 6.2; the attestation of a start does not compare them",
        ),
    ]
}

fn modules(facts: &Facts) -> Vec<Feature> {
    let module = |name, word: &str, instead: &str| {
        let (availability, detail) = match facts.security_modules.contains(word) {
            true => (
                Availability::Unused,
                format!("active on this host and not applied to containers; {instead}"),
            ),
            false => (Availability::Missing, instead.to_owned()),
        };
        Feature { name, availability, detail }
    };
    vec![
        module(
            "AppArmor",
            "apparmor",
            "--security-opt apparmor=PROFILE is refused; user namespaces, masked paths and the system call filter confine",
        ),
        module("SELinux", "selinux", "--security-opt label=... is refused, and :z and :Z change no label"),
        module("Landlock", "landlock", "nothing is asked of it"),
        module("BPF security module", "bpf", "nothing is asked of it"),
    ]
}

fn quotas(filesystem: &str, options: &BTreeSet<String>) -> Feature {
    let there = ["prjquota", "pquota"].iter().any(|option| options.contains(*option));
    let without = format!(
        "--storage-opt size= and the size of volumes are refused: {filesystem} of the data directory is mounted without \
         prjquota"
    );
    feature(QUOTAS, there, format!("on {filesystem} of the data directory"), &without)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::isolation::Isolation;

    /// An option, what a host lacks for it, and who asks for it.
    type Case = (&'static str, fn(&mut Facts), fn(&mut ContainerConfig));

    fn host(facts: &Facts) -> Host {
        Host::of(facts, Path::new("/data/agent"), Vec::new())
    }

    /// A host that has everything.
    fn rich() -> Facts {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        Facts {
            cgroups: Some("v2"),
            controllers: words("cpu cpuset io memory pids"),
            swap: Some(true),
            weights: Some(true),
            real_time: Some(true),
            user_namespaces: 100,
            kernel: (6, 12),
            overlay: true,
            seccomp: true,
            security_modules: words("apparmor selinux landlock bpf"),
            mounts: "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /data rw - xfs /dev/b rw,prjquota\n"
                .to_owned(),
        }
    }

    #[test]
    fn a_host_is_what_its_files_say() {
        let all = host(&rich());
        assert_eq!(all.lacks().count(), 0, "{all:?}");
        assert_eq!(all.filesystem(), "xfs");
        let bare = host(&Facts::default());
        assert_eq!(
            bare.lacks().count(),
            bare.features().len() - 2,
            "what cannot be seen is not called missing"
        );
        assert!(
            bare.lacks().all(|feature| !feature.detail.is_empty()),
            "each says what is done instead: {bare:?}"
        );
    }

    #[test]
    fn what_needs_something_missing_is_refused_by_name() {
        let asked = |change: fn(&mut ContainerConfig)| {
            let mut config = ContainerConfig::default();
            change(&mut config);
            config
        };
        let poor = |change: fn(&mut Facts)| {
            let mut facts = rich();
            change(&mut facts);
            host(&facts)
        };
        let cases: [Case; 6] = [
            ("cpus", |f| f.controllers.retain(|one| one != "cpu"), |c| c.limits.nano_cpus = Some(1)),
            (
                "cpuset-cpus",
                |f| f.controllers.retain(|one| one != "cpuset"),
                |c| c.isolation.resources.cpuset_cpus = "0".into(),
            ),
            ("memory-swap", |f| f.swap = Some(false), |c| c.isolation.resources.memory_swap = Some(1 << 30)),
            ("blkio-weight", |f| f.weights = Some(false), |c| c.isolation.resources.blkio_weight = Some(10)),
            ("userns", |f| f.user_namespaces = 0, |_| {}),
            ("security-opt", |f| f.seccomp = false, |_| {}),
        ];
        for (option, lack, ask) in cases {
            let said = poor(lack).check(&asked(ask)).expect_err("it is refused").to_string();
            assert!(said.starts_with(option) && said.contains("this host has no"), "{said}");
            host(&rich()).check(&asked(ask)).expect("nothing is missing");
        }
        let shared = Isolation {
            namespaces: crate::container::isolation::NamespaceModes {
                user_host: Some(true),
                ..Default::default()
            },
            ..Isolation::default()
        };
        let config = ContainerConfig { isolation: Box::new(shared), ..ContainerConfig::default() };
        poor(|f| f.user_namespaces = 0).check(&config).expect("it needs none");
        let unlimited = asked(|c| c.isolation.resources.memory_swap = Some(-1));
        poor(|f| f.swap = Some(false)).check(&unlimited).expect("nothing has to be counted");
    }

    #[test]
    fn this_host_can_run_containers() {
        let here = Host::look(Path::new("/"));
        for name in [USERS, MAPPED, SECCOMP, "overlay file systems", "cgroup controller memory"] {
            assert!(here.missing(name).is_none(), "{name}: {here:?}");
        }
        assert!(!here.hierarchies().is_empty());
        here.check(&ContainerConfig::default()).expect("a plain container");
    }
}
