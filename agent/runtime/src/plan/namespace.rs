//! Which namespaces are new, id maps, names and sysctls. Pure.

use std::fmt;
use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Spec};

use super::step::{HostStep, IdMap, IdMaps, InitStep};
use super::{HostFacts, PlanError};

/// The namespaces of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaces {
    /// The maps of its user namespace; `None` shares the host's.
    pub user: Option<IdMaps>,
    /// Its network.
    pub network: Network,
    /// Its own process ids.
    pub pid: bool,
    /// Its own System V objects and message queues.
    pub ipc: bool,
    /// Its own host name.
    pub uts: bool,
    /// Its own view of the cgroup hierarchy.
    pub cgroup: bool,
    /// Those of another container that it joins; the fields above say that they are not the host's.
    pub joined: Joined,
}

/// Where the namespaces of another container can be opened. One with users has the maps of [`Namespaces::user`] already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    /// Users and groups.
    pub user: Option<PathBuf>,
    /// Process ids.
    pub pid: Option<PathBuf>,
    /// System V objects and message queues.
    pub ipc: Option<PathBuf>,
}

impl Joined {
    /// Whether it joins any.
    pub fn any(&self) -> bool {
        *self != Joined::default()
    }

    fn of(listed: &[LinuxNamespace]) -> Result<Joined, PlanError> {
        let refuse = |reason: String| Err(PlanError::new("linux.namespaces", reason));
        let mut joined = Joined::default();
        for namespace in listed {
            let Some(path) = namespace.path() else { continue };
            if !path.is_absolute() {
                return refuse(format!("{} is not an absolute path", path.display()));
            }
            let place = match namespace.typ() {
                LinuxNamespaceType::User => &mut joined.user,
                LinuxNamespaceType::Pid => &mut joined.pid,
                LinuxNamespaceType::Ipc => &mut joined.ipc,
                name => return refuse(format!("joining a {name} namespace by path is not supported")),
            };
            *place = Some(path.clone());
        }
        Ok(joined)
    }
}

/// Where a container's network namespace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Handed over by the caller.
    Given,
    /// Made for it, with nothing but a loopback interface that is down.
    New,
    /// Shared with the host.
    Host,
}

/// Most runs of ids in a map; the kernel takes 340.
const MOST_RUNS: usize = 32;

pub(crate) fn plan(linux: &Linux, host: HostFacts) -> Result<Namespaces, PlanError> {
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    let joined = Joined::of(listed)?;
    let has = |kind| listed.iter().any(|namespace| namespace.typ() == kind);
    if !has(LinuxNamespaceType::Mount) {
        return Err(PlanError::new("linux.namespaces", "a mount namespace is needed"));
    }
    if has(LinuxNamespaceType::Time) {
        return Err(PlanError::new("linux.namespaces", "time namespaces are not supported"));
    }
    let uids = maps("linux.uidMappings", linux.uid_mappings().as_deref().unwrap_or_default())?;
    let gids = maps("linux.gidMappings", linux.gid_mappings().as_deref().unwrap_or_default())?;
    let user = match (uids.is_empty(), gids.is_empty()) {
        (true, true) if has(LinuxNamespaceType::User) => {
            return Err(PlanError::new("linux.uidMappings", "a user namespace needs id mappings"));
        }
        (true, true) => None,
        (false, false) => Some(IdMaps { uids, gids }),
        _ => {
            return Err(PlanError::new(
                "linux.uidMappings",
                "users and groups must both be mapped, or neither",
            ));
        }
    };
    if joined.any() && user.is_some() != joined.user.is_some() {
        let reason = "who joins another container's processes or objects has its users, or the host's";
        return Err(PlanError::new("linux.namespaces", reason));
    }
    let network = match (host.network_given, has(LinuxNamespaceType::Network)) {
        (true, _) => Network::Given,
        (false, true) => Network::New,
        (false, false) => Network::Host,
    };
    Ok(Namespaces {
        user,
        network,
        pid: has(LinuxNamespaceType::Pid),
        ipc: has(LinuxNamespaceType::Ipc),
        uts: has(LinuxNamespaceType::Uts),
        cgroup: has(LinuxNamespaceType::Cgroup),
        joined,
    })
}

fn maps(field: &str, given: &[LinuxIdMapping]) -> Result<Vec<IdMap>, PlanError> {
    let maps = runs(field, given)?;
    if !maps.is_empty() && !maps.iter().any(|run| run.container == 0) {
        return Err(PlanError::new(field, "id 0 of the container must be mapped"));
    }
    Ok(maps)
}

/// The runs of a map, each within what the kernel takes.
pub(super) fn runs(field: &str, given: &[LinuxIdMapping]) -> Result<Vec<IdMap>, PlanError> {
    if given.len() > MOST_RUNS {
        return Err(PlanError::new(field, format!("more than {MOST_RUNS} runs")));
    }
    let mut maps = Vec::with_capacity(given.len());
    for run in given {
        let (container, host, size) = (run.container_id(), run.host_id(), run.size());
        let fits = |first: u32| first.checked_add(size).is_some_and(|end| end <= i32::MAX.unsigned_abs());
        if size == 0 || !fits(container) || !fits(host) {
            return Err(PlanError::new(field, format!("the run {container}:{host}:{size} is out of range")));
        }
        maps.push(IdMap { container, host, size });
    }
    Ok(maps)
}

/// The `net.` sysctls, which belong to whoever made the network namespace: the keeper writes them when the
/// namespace was given, the child when it is its own.
pub(crate) fn network_sysctls(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<HostStep>, PlanError> {
    let mut steps = Vec::new();
    for (name, value) in sorted_sysctls(linux)? {
        if name.starts_with("net.") && namespaces.network == Network::Given {
            steps.push(HostStep::SetNetworkSysctl { name, value });
        }
    }
    Ok(steps)
}

/// Host name, domain name and the child's own sysctls.
pub(crate) fn names_and_sysctls(
    oci: &Spec,
    linux: &Linux,
    namespaces: &Namespaces,
) -> Result<Vec<InitStep>, PlanError> {
    let mut steps = Vec::new();
    for (field, name) in [("hostname", oci.hostname()), ("domainname", oci.domainname())] {
        let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else { continue };
        if !namespaces.uts {
            return Err(PlanError::new(field, "needs a uts namespace"));
        }
        if name.len() > 64 || name.contains('\0') {
            return Err(PlanError::new(field, format!("{name:?} is longer than 64 bytes or not text")));
        }
        steps.push(match field {
            "hostname" => InitStep::SetHostname(name.clone()),
            _ => InitStep::SetDomainname(name.clone()),
        });
    }
    for (name, value) in sorted_sysctls(linux)? {
        let own = match namespace_of(&name) {
            Some("net") if namespaces.network == Network::Given => continue,
            Some("net") => namespaces.network == Network::New,
            Some("ipc") => namespaces.ipc && namespaces.joined.ipc.is_none(),
            Some(_) => namespaces.uts,
            None => false,
        };
        if !own {
            return Err(PlanError::new("linux.sysctl", format!("{name} would change the host")));
        }
        let value = match (&namespaces.user, name.as_str()) {
            (Some(maps), "net.ipv4.ping_group_range") => within(&value, &maps.gids),
            _ => value,
        };
        steps.push(InitStep::SetSysctl { name, value });
    }
    Ok(steps)
}

/// A range of groups, "FIRST LAST", whose end is an id of the container: the kernel takes no other from a child
/// with a user namespace, and "everybody" is what the largest number means.
fn within(range: &str, maps: &[IdMap]) -> String {
    let last = maps.iter().map(|map| map.container + (map.size - 1)).max().unwrap_or(0);
    match range.split_once(char::is_whitespace) {
        Some((first, end)) if end.trim().parse::<u32>().is_ok_and(|end| end > last) => {
            format!("{first} {last}")
        }
        _ => range.to_owned(),
    }
}

/// Sorted, because the specification keeps them in a hash map and plans must not differ from run to run.
fn sorted_sysctls(linux: &Linux) -> Result<Vec<(String, String)>, PlanError> {
    let mut sysctls: Vec<(String, String)> = linux.sysctl().clone().unwrap_or_default().into_iter().collect();
    sysctls.sort();
    for (name, value) in &sysctls {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !name.chars().all(good) || name.contains("..") || name.len() > 128 || value.len() > 4096 {
            return Err(PlanError::new("linux.sysctl", format!("{name:?} is not a sysctl")));
        }
    }
    Ok(sysctls)
}

/// The namespace a sysctl belongs to; `None` is the whole host.
fn namespace_of(name: &str) -> Option<&'static str> {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    match name.split_once('.')? {
        ("net", _) => Some("net"),
        ("kernel", "domainname") => Some("uts"),
        ("kernel", key) if IPC.contains(&key) => Some("ipc"),
        ("fs", key) if key.starts_with("mqueue.") => Some("ipc"),
        _ => None,
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mount")?;
        for (new, name, joined) in [
            (self.user.is_some(), "user", self.joined.user.is_some()),
            (self.pid, "pid", self.joined.pid.is_some()),
            (self.ipc, "ipc", self.joined.ipc.is_some()),
            (self.uts, "uts", false),
            (self.cgroup, "cgroup", false),
        ] {
            if new {
                write!(f, " {name}{}", if joined { "=joined" } else { "" })?;
            }
        }
        match self.network {
            Network::Given => f.write_str(" network=given"),
            Network::New => f.write_str(" network=new"),
            Network::Host => f.write_str(" network=host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_groups_ends_with_the_container() {
        let maps = [IdMap { container: 0, host: 1_048_576, size: 65_536 }];
        assert_eq!(within("0 2147483647", &maps), "0 65535");
        assert_eq!(within("1 10", &maps), "1 10");
    }

    #[test]
    fn only_namespaced_sysctls_have_a_namespace() {
        assert_eq!(namespace_of("net.ipv4.ip_forward"), Some("net"));
        assert_eq!(namespace_of("kernel.shmmax"), Some("ipc"));
        assert_eq!(namespace_of("fs.mqueue.msg_max"), Some("ipc"));
        for host in ["kernel.core_pattern", "vm.overcommit_memory", "fs.file-max", "kernel", ""] {
            assert_eq!(namespace_of(host), None, "{host}");
        }
    }
}
