//! Which namespaces of an OCI configuration are new, which are entered by path, and which are the caller's. Pure.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::super::namespace;
use super::super::step::IdMaps;
use super::super::{Joined, Namespaces, Network, PlanError};

/// The namespaces of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    /// `CLONE_NEW*` bits for the clone; a new cgroup namespace is a step of the child's instead.
    pub new: u64,
    /// Entered by the caller for the time of the clone: `CLONE_NEW*` bit and path.
    pub join: Vec<(u64, PathBuf)>,
    /// The user namespace to enter.
    pub join_user: Option<PathBuf>,
    /// The mount namespace to enter.
    pub join_mount: Option<PathBuf>,
    /// Lines for `timens_offsets` of a new time namespace.
    pub time: Option<String>,
    /// The same, as the other planners see it: what is entered counts as own.
    pub seen: Namespaces,
    /// Whether there is a mount namespace that is not the caller's.
    pub mount: bool,
}

pub(super) fn plan(linux: &Linux) -> Result<Planned, PlanError> {
    use LinuxNamespaceType as Type;
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    for (index, namespace) in listed.iter().enumerate() {
        if listed[..index].iter().any(|earlier| earlier.typ() == namespace.typ()) {
            return Err(PlanError::new("linux.namespaces", format!("{} is listed twice", namespace.typ())));
        }
        if let Some(path) = namespace.path()
            && !path.as_os_str().is_empty()
            && !path.is_absolute()
        {
            let text = path.display();
            return Err(PlanError::new("linux.namespaces.path", format!("{text} is not an absolute path")));
        }
    }
    let find = |kind| listed.iter().find(|namespace| namespace.typ() == kind);
    let has = |kind| find(kind).is_some();
    let path = |kind| {
        let path = find(kind).and_then(|namespace| namespace.path().clone());
        path.filter(|path| !path.as_os_str().is_empty())
    };
    let is_new = |kind| has(kind) && path(kind).is_none();
    let kinds = [
        (Type::Ipc, libc::CLONE_NEWIPC),
        (Type::Uts, libc::CLONE_NEWUTS),
        (Type::Network, libc::CLONE_NEWNET),
        (Type::Pid, libc::CLONE_NEWPID),
        (Type::Mount, libc::CLONE_NEWNS),
        (Type::User, libc::CLONE_NEWUSER),
    ];
    let mut planned = Planned {
        new: 0,
        join: Vec::new(),
        join_user: path(Type::User),
        join_mount: path(Type::Mount),
        time: time_offsets(linux, is_new(Type::Time))?,
        seen: Namespaces {
            user: user_maps(linux, has(Type::User), is_new(Type::User))?,
            network: network(has(Type::Network), path(Type::Network).is_some(), has(Type::User)),
            pid: has(Type::Pid),
            ipc: has(Type::Ipc),
            uts: has(Type::Uts),
            cgroup: is_new(Type::Cgroup),
            // Paths are entered by this command line itself: see `join`.
            joined: Joined::default(),
        },
        mount: has(Type::Mount),
    };
    for (kind, flag) in kinds {
        if is_new(kind) {
            planned.new |= u64::from(flag.unsigned_abs());
        }
    }
    let entered = [
        (Type::Ipc, u64::from(libc::CLONE_NEWIPC.unsigned_abs())),
        (Type::Uts, u64::from(libc::CLONE_NEWUTS.unsigned_abs())),
        (Type::Network, u64::from(libc::CLONE_NEWNET.unsigned_abs())),
        (Type::Cgroup, u64::from(libc::CLONE_NEWCGROUP.unsigned_abs())),
        (Type::Pid, u64::from(libc::CLONE_NEWPID.unsigned_abs())),
        (Type::Time, TIME),
    ];
    for (kind, flag) in entered {
        planned.join.extend(path(kind).map(|path| (flag, path)));
    }
    Ok(planned)
}

/// `CLONE_NEWTIME`.
pub(crate) const TIME: u64 = 0x80;

fn network(listed: bool, by_path: bool, user: bool) -> Network {
    match (listed, by_path && user) {
        (false, _) => Network::Host,
        // Not owned by the container's user namespace: the caller writes its sysctls.
        (true, true) => Network::Given,
        (true, false) => Network::New,
    }
}

fn user_maps(linux: &Linux, listed: bool, new: bool) -> Result<Option<IdMaps>, PlanError> {
    let given = |maps: &Option<Vec<LinuxIdMapping>>| maps.as_ref().is_some_and(|maps| !maps.is_empty());
    let (uids, gids) = (given(linux.uid_mappings()), given(linux.gid_mappings()));
    if !listed && (uids || gids) {
        return Err(PlanError::new("linux.uidMappings", "need a user namespace"));
    }
    if !new {
        return Ok(None);
    }
    if !uids || !gids {
        return Err(PlanError::new(
            "linux.uidMappings",
            "a new user namespace needs maps of users and groups",
        ));
    }
    maps("linux.uidMappings", linux.uid_mappings(), linux.gid_mappings()).map(Some)
}

pub(super) fn maps(
    field: &str,
    uids: &Option<Vec<LinuxIdMapping>>,
    gids: &Option<Vec<LinuxIdMapping>>,
) -> Result<IdMaps, PlanError> {
    let runs =
        |given: &Option<Vec<LinuxIdMapping>>| namespace::runs(field, given.as_deref().unwrap_or_default());
    Ok(IdMaps { uids: runs(uids)?, gids: runs(gids)? })
}

fn time_offsets(linux: &Linux, new: bool) -> Result<Option<String>, PlanError> {
    let given = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty());
    if !new {
        return match given {
            Some(_) => Err(PlanError::new("linux.timeOffsets", "need a new time namespace")),
            None => Ok(None),
        };
    }
    let mut lines: Vec<String> = Vec::new();
    for (clock, offset) in given.into_iter().flatten() {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(PlanError::new(
                "linux.timeOffsets",
                format!("{clock:?} is not monotonic or boottime"),
            ));
        }
        lines.push(format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0)));
    }
    lines.sort();
    Ok(Some(lines.concat()))
}
