//! From a configuration of the OCI command line to the steps that make its container. Pure.
//!
//! The caller is trusted, as with every OCI runtime: what the configuration asks for is done, with no defaults of
//! the engine's own added. What this kernel or this runtime cannot do is refused here, before anything has been
//! touched. Steps are those of the engine's plans wherever the two want the same.

pub(crate) mod filter;
pub(crate) mod identity;
mod mount;
pub(crate) mod namespace;
pub(crate) mod options;
pub(crate) mod resources;
pub mod step;

use std::path::Path;

use oci_spec::runtime::{Hook, Linux, Process, Spec};

use super::step::{HostStep, InitStep};
use super::{PlanError, Program, Slots};
use crate::container::WindowSize;
use filter::Filter;
use namespace::Planned;
use step::{OciHostStep, OciStep};

/// Where the configuration lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bundle<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle, absolute.
    pub directory: &'a Path,
    /// The root filesystem, absolute and without links.
    pub root: &'a Path,
    /// Whether limits are written to version 1 hierarchies.
    pub cgroup_v1: bool,
}

/// What the planner of mounts needs to know of the namespaces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Isolation {
    pub mount: bool,
    pub user: bool,
    pub default_propagation: u64,
}

/// Everything that makes one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OciPlan {
    pub cgroup: String,
    pub namespaces: Planned,
    /// In the caller, before the clone.
    pub before: Vec<HostStep>,
    /// In the caller, with the child waiting.
    pub after: Vec<HostStep>,
    /// In the child, up to the gate.
    pub init: Vec<InitStep>,
    /// In the child, once the gate is open.
    pub last: Vec<InitStep>,
    /// In the caller, with the child at the gate.
    pub at_gate: Vec<HostStep>,
    pub program: Program,
    pub slots: usize,
    pub filter: Option<Filter>,
    pub start_hooks: Vec<Hook>,
    /// Slot of the mount namespace to enter, if any.
    pub mounts_slot: Option<usize>,
}

/// Plans the container of `oci`.
pub(crate) fn plan(oci: &Spec, bundle: &Bundle<'_>) -> Result<OciPlan, PlanError> {
    let nothing = Linux::default();
    let linux = oci.linux().as_ref().unwrap_or(&nothing);
    let process = oci.process().as_ref().ok_or_else(|| PlanError::new("process", "is missing"))?;
    refuse_unsupported(oci, linux)?;
    let namespaces = namespace::plan(linux)?;
    let cgroup = resources::cgroup_path(linux, bundle.id)?;
    let user = namespaces.seen.user.is_some() || namespaces.join_user.is_some();
    let root_propagation = root_propagation(linux)?;
    let default_propagation = root_propagation.unwrap_or(libc::MS_PRIVATE);
    let isolation = Isolation { mount: namespaces.mount, user, default_propagation };
    let who = identity::plan(process)?;
    let mut slots = Slots::default();
    let mut before = vec![HostStep::Oci(OciHostStep::AdoptCgroup)];
    before.extend(resources::plan(linux.resources().as_ref(), bundle.cgroup_v1, true)?);
    let mounts = mount::plan(oci, linux, bundle, &isolation, &mut slots)?;
    before.extend(mounts.before);
    before.extend(super::namespace::network_sysctls(linux, &namespaces.seen)?);
    let mounts_slot = namespaces.join_mount.as_ref().map(|_| slots.next().0);

    let mut after: Vec<HostStep> =
        namespaces.seen.user.iter().map(|maps| HostStep::WriteIdMaps(maps.clone())).collect();
    after.push(HostStep::EnterCgroup);
    after.extend(mounts.after);
    after.extend(who.host);
    after.push(root_step(bundle, &isolation));

    let mut init = opening(&namespaces, user, mounts_slot, bundle);
    init.extend(mounts.init);
    init.extend(super::namespace::names_and_sysctls(oci, linux, &namespaces.seen)?);
    if process.cwd() != Path::new("/") && isolation.mount {
        init.push(InitStep::MakeDirectory(process.cwd().clone()));
    }
    init.extend(streams(process, &who.owner, isolation.mount));
    init.extend(mounts.seal);
    init.push(InitStep::Oci(OciStep::Rendezvous));
    let hooks = oci.hooks().as_ref();
    let container_hooks = hooks.and_then(|hooks| hooks.create_container().clone()).unwrap_or_default();
    if !container_hooks.is_empty() {
        init.push(InitStep::Oci(OciStep::RunHooks(container_hooks)));
    }
    init.push(if isolation.mount && namespaces.join_mount.is_none() {
        InitStep::Pivot
    } else {
        InitStep::Oci(OciStep::Chroot)
    });
    if let Some(flags) = root_propagation.filter(|flags| isolation.mount && *flags != libc::MS_PRIVATE) {
        init.push(InitStep::Oci(OciStep::RootPropagation(flags)));
    }
    init.extend(identity::personality(linux)?);
    init.extend(who.init);
    let filter = filter::plan(linux.seccomp().as_ref())?;
    let last = ending(process, filter.is_some(), who.drop, &mut init);
    Ok(OciPlan {
        cgroup,
        namespaces,
        before,
        after,
        init,
        last,
        at_gate: who.at_gate,
        program: super::program(process)?,
        slots: slots.0,
        filter,
        start_hooks: hooks.and_then(|hooks| hooks.start_container().clone()).unwrap_or_default(),
        mounts_slot,
    })
}

/// Up to the attached root.
fn opening(namespaces: &Planned, user: bool, joined: Option<usize>, bundle: &Bundle<'_>) -> Vec<InitStep> {
    let mut init = vec![InitStep::NewSession];
    if user {
        init.push(InitStep::BecomeRoot(Vec::new()));
    }
    if namespaces.seen.cgroup {
        init.push(InitStep::NewCgroupNamespace);
    }
    if let Some(slot) = joined {
        init.push(InitStep::Oci(OciStep::JoinMounts(super::step::Slot(slot))));
    } else if namespaces.mount {
        init.push(InitStep::PrivateMounts);
    }
    if namespaces.mount {
        init.push(InitStep::Oci(OciStep::AttachRoot(bundle.root.to_owned())));
    }
    init
}

/// What gives privileges up, before the gate where that is possible: a filter is the last thing before the
/// program, so with one that needs privileges to load all of it waits for the gate.
fn ending(process: &Process, filter: bool, drop: Vec<InitStep>, init: &mut Vec<InitStep>) -> Vec<InitStep> {
    match (filter, process.no_new_privileges().unwrap_or(false)) {
        (false, _) => {
            init.extend(drop);
            Vec::new()
        }
        (true, true) => {
            init.extend(drop);
            vec![InitStep::LoadSeccomp]
        }
        (true, false) => std::iter::once(InitStep::LoadSeccomp).chain(drop).collect(),
    }
}

fn root_step(bundle: &Bundle<'_>, isolation: &Isolation) -> HostStep {
    let path = bundle.root.to_owned();
    if isolation.mount {
        HostStep::OpenRootDirectory { path, read_only: false, nodev: isolation.user }
    } else {
        HostStep::Oci(OciHostStep::OpenPlainRoot(path))
    }
}

fn streams(process: &Process, owner: &super::step::Owner, mount: bool) -> Option<InitStep> {
    let owner = *owner;
    if !process.terminal().unwrap_or(false) {
        return (owner.uid != 0).then_some(InitStep::Oci(OciStep::OwnStreams(owner)));
    }
    let side = |length: u64| u16::try_from(length).unwrap_or(u16::MAX);
    let size = process.console_size();
    let size = size.map_or(WindowSize { rows: 0, columns: 0 }, |size| WindowSize {
        rows: side(size.height()),
        columns: side(size.width()),
    });
    Some(InitStep::Oci(OciStep::Terminal { size, owner, console: mount }))
}

fn root_propagation(linux: &Linux) -> Result<Option<u64>, PlanError> {
    Ok(match linux.rootfs_propagation().as_deref() {
        None | Some("") => None,
        Some("private" | "rprivate") => Some(libc::MS_PRIVATE),
        Some("slave" | "rslave") => Some(libc::MS_SLAVE),
        Some("shared" | "rshared") => Some(libc::MS_SHARED),
        Some("unbindable" | "runbindable") => Some(libc::MS_UNBINDABLE),
        Some(other) => {
            return Err(PlanError::new("linux.rootfsPropagation", format!("{other:?} is not a propagation")));
        }
    })
}

fn refuse_unsupported(oci: &Spec, linux: &Linux) -> Result<(), PlanError> {
    resources::check(oci)?;
    let label = |label: &Option<String>| label.as_ref().is_some_and(|label| !label.is_empty());
    let asked = [
        ("linux.mountLabel", label(linux.mount_label())),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        ("linux.netDevices", linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(PlanError::new(*field, "is not supported")),
        None => Ok(()),
    }
}
