//! Who the program is: user, groups, capabilities, limits of the process. Pure.

use std::path::Path;

use oci_spec::runtime::{Capability, PosixRlimitType, Process};

use super::step::{HostStep, IdMap, InitStep, Owner, Resource};
use super::{Namespaces, PlanError};
use crate::capabilities::CapSet;

/// The steps that make the program who it is.
pub(crate) struct Identity {
    pub capabilities: CapSet,
    pub owner: Owner,
    pub host: Vec<HostStep>,
    pub at_gate: Vec<HostStep>,
    pub init: Vec<InitStep>,
}

impl Identity {
    /// Leaves out what the container's making does anyway: it ends in the root directory, and whoever is to be user
    /// 0 of a user namespace becomes that in the beginning, for which this answers the supplementary groups.
    pub(super) fn settle(&mut self, namespaces: &Namespaces) -> Vec<u32> {
        let is_there =
            |step: &InitStep| matches!(step, InitStep::ChangeDirectory(cwd) if cwd == Path::new("/"));
        self.init.retain(|step| !is_there(step));
        let mut first = Vec::new();
        let is_root = namespaces.user.is_some() && self.owner == Owner { uid: 0, gid: 0 };
        self.init.retain(|step| match step {
            InitStep::SetUser { groups, umask: FIRST_UMASK, .. } if is_root => {
                first.clone_from(groups);
                false
            }
            _ => true,
        });
        first
    }
}

/// The file creation mask that [`InitStep::NewSession`] sets.
const FIRST_UMASK: u32 = 0o022;

/// Most supplementary groups; the kernel takes 65,536.
const MOST_GROUPS: usize = 1024;

pub(crate) fn plan(process: &Process, namespaces: &Namespaces) -> Result<Identity, PlanError> {
    let user = process.user();
    if user.username().is_some() {
        return Err(PlanError::new("process.user.username", "names must be resolved to ids beforehand"));
    }
    let owner = Owner { uid: user.uid(), gid: user.gid() };
    let extra = user.additional_gids().clone().unwrap_or_default();
    if extra.len() > MOST_GROUPS {
        return Err(PlanError::new("process.user.additionalGids", format!("more than {MOST_GROUPS} groups")));
    }
    // The primary group is named explicitly: left out, dropping it later would regain what it was denied.
    let mut groups = vec![owner.gid];
    groups.extend(extra.into_iter().filter(|gid| *gid != owner.gid));
    check_ids(owner, &groups, namespaces)?;

    let (bounding, permitted, effective) = capabilities(process)?;
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        return Err(PlanError::new("process.cwd", format!("{} is not an absolute path", cwd.display())));
    }
    let mut init = vec![
        InitStep::ChangeDirectory(cwd.clone()),
        InitStep::LimitCapabilities(bounding),
        InitStep::SetUser { owner, groups, umask: user.umask().unwrap_or(0o022) & 0o777 },
        InitStep::SetCapabilities { permitted, effective },
    ];
    if owner.uid != 0 {
        // Leaving user 0 empties both sets, and without inheritable and ambient sets execve would anyway.
        init.pop();
        init.push(InitStep::SetCapabilities { permitted: CapSet(0), effective: CapSet(0) });
    }
    if process.no_new_privileges().unwrap_or(false) {
        init.push(InitStep::NoNewPrivileges);
    }
    let (host, at_gate) = (oom_score(process)?, limits(process)?);
    Ok(Identity { capabilities: bounding, owner, host, at_gate, init })
}

/// Bounding, permitted and effective sets, each within the one before. What is not listed is not had.
fn capabilities(process: &Process) -> Result<(CapSet, CapSet, CapSet), PlanError> {
    let Some(given) = process.capabilities() else { return Ok((CapSet(0), CapSet(0), CapSet(0))) };
    for (field, set) in [("inheritable", given.inheritable()), ("ambient", given.ambient())] {
        if set.as_ref().is_some_and(|set| !set.is_empty()) {
            return Err(PlanError::new(
                format!("process.capabilities.{field}"),
                "must be empty: it would let programs without privileges gain some",
            ));
        }
    }
    let set =
        |listed: &Option<std::collections::HashSet<Capability>>| CapSet::from_oci(listed.iter().flatten());
    let bounding = set(given.bounding());
    let permitted = CapSet(set(given.permitted()).0 & bounding.0);
    Ok((bounding, permitted, CapSet(set(given.effective()).0 & permitted.0)))
}

fn check_ids(owner: Owner, groups: &[u32], namespaces: &Namespaces) -> Result<(), PlanError> {
    let mapped = |id: u32, runs: &[IdMap]| {
        runs.iter().any(|run| id.checked_sub(run.container).is_some_and(|offset| offset < run.size))
    };
    let most = i32::MAX.unsigned_abs() - 1;
    let user = |id: u32| namespaces.user.as_ref().map_or(id <= most, |maps| mapped(id, &maps.uids));
    let group = |id: u32| namespaces.user.as_ref().map_or(id <= most, |maps| mapped(id, &maps.gids));
    if !user(owner.uid) {
        return Err(PlanError::new(
            "process.user.uid",
            format!("{} is not an id of the container", owner.uid),
        ));
    }
    match groups.iter().find(|gid| !group(**gid)) {
        Some(gid) => Err(PlanError::new("process.user.gid", format!("{gid} is not an id of the container"))),
        None => Ok(()),
    }
}

pub(super) fn limits(process: &Process) -> Result<Vec<HostStep>, PlanError> {
    let mut steps = Vec::new();
    for limit in process.rlimits().as_deref().unwrap_or_default() {
        let (soft, hard) = (limit.soft(), limit.hard());
        let resource = resource(limit.typ());
        if soft > hard {
            return Err(PlanError::new(
                "process.rlimits",
                format!("{}: soft {soft} exceeds hard {hard}", resource.1),
            ));
        }
        steps.push(HostStep::SetLimitOfProcess { resource, soft, hard });
    }
    Ok(steps)
}

pub(super) fn oom_score(process: &Process) -> Result<Vec<HostStep>, PlanError> {
    match process.oom_score_adj() {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(PlanError::new("process.oomScoreAdj", format!("{score} is not between -1000 and 1000")))
        }
        score => Ok(score.map(HostStep::SetOomScore).into_iter().collect()),
    }
}

fn resource(kind: PosixRlimitType) -> Resource {
    use PosixRlimitType as Kind;
    match kind {
        Kind::RlimitCpu => Resource(0, "cpu"),
        Kind::RlimitFsize => Resource(1, "fsize"),
        Kind::RlimitData => Resource(2, "data"),
        Kind::RlimitStack => Resource(3, "stack"),
        Kind::RlimitCore => Resource(4, "core"),
        Kind::RlimitRss => Resource(5, "rss"),
        Kind::RlimitNproc => Resource(6, "nproc"),
        Kind::RlimitNofile => Resource(7, "nofile"),
        Kind::RlimitMemlock => Resource(8, "memlock"),
        Kind::RlimitAs => Resource(9, "as"),
        Kind::RlimitLocks => Resource(10, "locks"),
        Kind::RlimitSigpending => Resource(11, "sigpending"),
        Kind::RlimitMsgqueue => Resource(12, "msgqueue"),
        Kind::RlimitNice => Resource(13, "nice"),
        Kind::RlimitRtprio => Resource(14, "rtprio"),
        Kind::RlimitRttime => Resource(15, "rttime"),
    }
}
