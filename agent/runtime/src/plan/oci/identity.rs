//! Who the program of an OCI configuration is: user, groups, the five capability sets, limits, scheduling. Pure.

use std::collections::HashSet;

use oci_spec::runtime::{
    Capability, IOPriorityClass, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process,
};

use super::super::step::{HostStep, InitStep, Owner};
use super::super::{PlanError, identity};
use super::step::{Capabilities, OciStep, Schedule};
use crate::capabilities::CapSet;

/// The steps that make the program who it is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub owner: Owner,
    pub host: Vec<HostStep>,
    pub at_gate: Vec<HostStep>,
    /// Needs the privileges the child starts with.
    pub init: Vec<InitStep>,
    /// Gives them up.
    pub drop: Vec<InitStep>,
}

pub(crate) fn plan(process: &Process) -> Result<Identity, PlanError> {
    let user = process.user();
    let owner = Owner { uid: user.uid(), gid: user.gid() };
    let mut groups = vec![owner.gid];
    groups.extend(user.additional_gids().iter().flatten().filter(|gid| **gid != owner.gid));
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        return Err(PlanError::new(
            "process.cwd",
            format!("{:?} is not an absolute path", cwd.display().to_string()),
        ));
    }
    let sets = capabilities(process)?;
    let mut init = scheduling(process)?;
    init.push(InitStep::ChangeDirectory(cwd.clone()));
    init.extend(label(process));
    let mut drop = vec![
        InitStep::LimitCapabilities(sets.bounding),
        InitStep::Oci(OciStep::KeepCapabilities),
        InitStep::SetUser { owner, groups, umask: user.umask().unwrap_or(0o022) & 0o777 },
        InitStep::Oci(OciStep::SetCapabilities(sets)),
    ];
    if process.no_new_privileges().unwrap_or(false) {
        drop.push(InitStep::NoNewPrivileges);
    }
    let at_gate = limits(process)?;
    Ok(Identity { owner, host: identity::oom_score(process)?, at_gate, init, drop })
}

fn capabilities(process: &Process) -> Result<Capabilities, PlanError> {
    let Some(given) = process.capabilities() else { return Ok(Capabilities::default()) };
    let set = |listed: &Option<HashSet<Capability>>| CapSet::from_oci(listed.iter().flatten());
    let sets = Capabilities {
        bounding: set(given.bounding()),
        permitted: set(given.permitted()),
        effective: set(given.effective()),
        inheritable: set(given.inheritable()),
        ambient: set(given.ambient()),
    };
    // The kernel's own conditions, said before anything has been made.
    for (field, needs, within) in [
        ("effective", sets.effective, sets.permitted),
        ("ambient", sets.ambient, CapSet(sets.permitted.0 & sets.inheritable.0)),
    ] {
        if !within.contains(needs) {
            let missing = CapSet(needs.0 & !within.0);
            return Err(PlanError::new(
                format!("process.capabilities.{field}"),
                format!("{missing} must also be among the permitted (ambient ones: and inheritable) ones"),
            ));
        }
    }
    Ok(sets)
}

fn limits(process: &Process) -> Result<Vec<HostStep>, PlanError> {
    let listed = process.rlimits().as_deref().unwrap_or_default();
    for (index, limit) in listed.iter().enumerate() {
        if listed[..index].iter().any(|earlier| earlier.typ() == limit.typ()) {
            return Err(PlanError::new("process.rlimits", format!("{} is listed twice", limit.typ())));
        }
    }
    identity::limits(process)
}

fn label(process: &Process) -> Vec<InitStep> {
    let asked = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let mut steps = Vec::new();
    if let Some(profile) = asked(process.apparmor_profile()) {
        let value = format!("exec {profile}");
        steps.push(InitStep::Oci(OciStep::Label { file: "apparmor/exec", value }));
    }
    if let Some(value) = asked(process.selinux_label()) {
        steps.push(InitStep::Oci(OciStep::Label { file: "exec", value }));
    }
    steps
}

fn scheduling(process: &Process) -> Result<Vec<InitStep>, PlanError> {
    let mut steps = Vec::new();
    if let Some(asked) = process.scheduler() {
        let mut flags = 0;
        for flag in asked.flags().iter().flatten() {
            flags |= scheduler_flag(*flag);
        }
        let priority = asked.priority().unwrap_or(0);
        let priority = u32::try_from(priority)
            .map_err(|_| PlanError::new("process.scheduler.priority", format!("{priority} is negative")))?;
        let deadline = [asked.runtime(), asked.deadline(), asked.period()].map(|time| time.unwrap_or(0));
        let nice = asked.nice().unwrap_or(0);
        let policy = scheduler_policy(*asked.policy());
        steps.push(InitStep::Oci(OciStep::Schedule(Schedule { policy, flags, nice, priority, deadline })));
    }
    if let Some(asked) = process.io_priority() {
        let class = match asked.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        let level = u32::try_from(asked.priority()).ok().filter(|level| *level < 8);
        let level = level.ok_or_else(|| {
            PlanError::new("process.ioPriority.priority", format!("{} is not 0 to 7", asked.priority()))
        })?;
        steps.push(InitStep::Oci(OciStep::IoPriority(class, level)));
    }
    Ok(steps)
}

fn scheduler_policy(policy: LinuxSchedulerPolicy) -> u32 {
    match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

fn scheduler_flag(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// The execution domain, in the kernel's number.
pub(crate) fn personality(linux: &oci_spec::runtime::Linux) -> Result<Option<InitStep>, PlanError> {
    let Some(asked) = linux.personality() else { return Ok(None) };
    if asked.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        return Err(PlanError::new("linux.personality.flags", "none is defined"));
    }
    let persona = match asked.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    };
    Ok(Some(InitStep::Oci(OciStep::Personality(persona))))
}
