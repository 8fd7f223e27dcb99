//! From an OCI specification to the steps that make the container. Pure: no kernel, no clock, no environment.
//!
//! Vocabulary: **host** steps run in the keeper (first those before the clone, then those that need the child's
//! id), **init** steps run in the child, in the order they are listed. A [`Slot`] is a descriptor that a host
//! step opens and an init step uses. The executor makes no choices: all of them are made here, and golden tests
//! compare the result.
//!
//! Everything that cannot be done is refused here, before anything has been touched.

pub(crate) mod block_io;
mod device;
pub(crate) mod identity;
pub(crate) mod join;
pub(crate) mod mount;
pub(crate) mod namespace;
pub mod oci;
pub(crate) mod resources;
mod share;
mod show;
pub mod step;

use std::fmt;

use oci_spec::runtime::{Linux, LinuxSeccomp};

use crate::capabilities::CapSet;
use crate::container::{ContainerSpec, Rootfs, SeccompPolicy};
use crate::seccomp::{self, Instruction};
pub use namespace::{Joined, Namespaces, Network};
use step::{HostStep, InitStep, Slot};

/// Everything that makes one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The cgroup's path.
    pub cgroup: String,
    /// Which namespaces are new.
    pub namespaces: Namespaces,
    /// The bounding set: what the seccomp filter is made for.
    pub capabilities: CapSet,
    /// Process 1 reaps and forwards signals, and the program is its child.
    pub reaper: Option<Reaper>,
    /// Which system calls are allowed.
    pub filter: Filter,
    /// In the keeper, before the clone.
    pub before: Vec<HostStep>,
    /// In the keeper, with the child waiting.
    pub after: Vec<HostStep>,
    /// In the child, up to the gate.
    pub init: Vec<InitStep>,
    /// In the keeper, with the child at the gate: limits that its own steps must not meet, such as that of open
    /// files while it still has copies of the keeper's.
    pub at_gate: Vec<HostStep>,
    /// What is executed once the gate opens.
    pub program: Program,
    /// How many slots the host steps fill.
    pub slots: usize,
}

/// What a process 1 of ours needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaper {
    /// There is a terminal, whose foreground the program is to be.
    pub terminal: bool,
}

/// The system calls of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All.
    None,
    /// Those of the default list, for its capabilities.
    Default,
    /// Those of the specification.
    Own(Vec<Instruction>),
}

/// The program of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its arguments, the name it is looked up by first.
    pub args: Vec<String>,
    /// Its environment, `NAME=value`.
    pub env: Vec<String>,
}

/// What the planner needs to know about the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostFacts {
    /// Whether the caller hands over a network namespace.
    pub network_given: bool,
    /// Whether limits are written to version 1 hierarchies.
    pub cgroup_v1: bool,
}

/// Why a specification cannot be carried out. Names the field by its OCI name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct PlanError {
    /// For example `linux.namespaces`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl PlanError {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> PlanError {
        PlanError { field: field.into(), reason: reason.into() }
    }
}

/// Hands out slots.
#[derive(Debug, Default)]
pub(crate) struct Slots(usize);

impl Slots {
    pub(crate) fn next(&mut self) -> Slot {
        self.0 += 1;
        Slot(self.0 - 1)
    }
}

/// Plans the container `spec` on a host like `host`.
pub fn plan(spec: &ContainerSpec, host: HostFacts) -> Result<Plan, PlanError> {
    check_id(&spec.id)?;
    let oci = &spec.oci;
    let process = oci.process().as_ref().ok_or_else(|| PlanError::new("process", "is missing"))?;
    let linux = oci.linux().as_ref().ok_or_else(|| PlanError::new("linux", "is missing"))?;
    refuse_unsupported(spec, linux)?;

    let namespaces = namespace::plan(linux, host)?;
    let cgroup = resources::cgroup_path(linux)?;
    let mut identity = identity::plan(process, &namespaces)?;
    let first_groups = identity.settle(&namespaces);
    let mut slots = Slots::default();
    let mut before = vec![HostStep::CreateCgroup];
    before.extend(resources::plan(linux, host.cgroup_v1)?);
    let mounts = mount::plan(oci, linux, &namespaces, &mut slots)?;
    let share = share::plan(&namespaces, &mounts.early, &mut slots);
    before.extend(share.before);
    before.extend(mounts.before);
    before.extend(namespace::network_sysctls(linux, &namespaces)?);

    let mut after = Vec::new();
    match (share.user, &namespaces.user) {
        (Some(slot), _) => after.push(HostStep::MapAs(slot)),
        (None, Some(user)) => after.push(HostStep::WriteIdMaps(user.clone())),
        (None, None) => {}
    }
    after.push(HostStep::EnterCgroup);
    after.extend(mounts.after);
    after.extend(identity.host);
    after.push(root_step(spec, &namespaces)?);

    let mut init = vec![InitStep::NewSession];
    init.extend(share.join);
    if namespaces.user.is_some() {
        init.push(InitStep::BecomeRoot(first_groups));
    }
    init.extend(share.new);
    if namespaces.cgroup {
        init.push(InitStep::NewCgroupNamespace);
    }
    init.push(InitStep::PrivateMounts);
    init.push(InitStep::AttachRoot);
    init.extend(mounts.init);
    init.push(stdio_step(spec, process, &identity.owner));
    if namespaces.network == Network::New {
        init.push(InitStep::LoopbackUp);
    }
    init.extend(namespace::names_and_sysctls(oci, linux, &namespaces)?);
    init.extend(mounts.seal);
    init.push(InitStep::Pivot);
    init.extend(identity.init);
    init.push(InitStep::CloseDescriptors);

    let program = program(process)?;
    let filter = filter(linux.seccomp(), spec.seccomp)?;
    Ok(Plan {
        cgroup,
        namespaces,
        capabilities: identity.capabilities,
        before,
        after,
        init: with_seccomp(init, &filter, process.no_new_privileges().unwrap_or(false)),
        filter,
        reaper: spec.init.then_some(Reaper { terminal: spec.terminal.is_some() }),
        at_gate: identity.at_gate,
        program,
        slots: slots.0,
    })
}

pub(crate) fn check_id(id: &str) -> Result<(), PlanError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > 128 || !id.chars().all(good) || id.starts_with('.') {
        return Err(PlanError::new("id", format!("{id:?} is not a container id")));
    }
    Ok(())
}

/// What is not done is refused, not ignored: a container must never be less confined than asked for.
fn refuse_unsupported(spec: &ContainerSpec, linux: &Linux) -> Result<(), PlanError> {
    let process = spec.oci.process().as_ref();
    let asked = [
        ("linux.mountLabel", linux.mount_label().is_some()),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.personality", linux.personality().is_some()),
        ("linux.timeOffsets", linux.time_offsets().is_some()),
        ("hooks", spec.oci.hooks().is_some()),
        ("process.apparmorProfile", process.is_some_and(|p| p.apparmor_profile().is_some())),
        ("process.selinuxLabel", process.is_some_and(|p| p.selinux_label().is_some())),
        ("process.scheduler", process.is_some_and(|p| p.scheduler().is_some())),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(PlanError::new(*field, "is not supported")),
        None => Ok(()),
    }
}

fn root_step(spec: &ContainerSpec, namespaces: &Namespaces) -> Result<HostStep, PlanError> {
    let mapped = namespaces.user.is_some();
    match &spec.rootfs {
        Rootfs::Overlay { lower, .. } if lower.is_empty() => {
            Err(PlanError::new("rootfs", "an overlay needs at least one lower layer"))
        }
        Rootfs::Overlay { lower, upper, work } => Ok(HostStep::OpenOverlay {
            lower: lower.clone(),
            upper: upper.clone(),
            work: work.clone(),
            mapped,
        }),
        Rootfs::Directory { path, read_only } => {
            Ok(HostStep::OpenRootDirectory { path: path.clone(), read_only: *read_only, nodev: mapped })
        }
    }
}

fn stdio_step(spec: &ContainerSpec, process: &oci_spec::runtime::Process, owner: &step::Owner) -> InitStep {
    match spec.terminal {
        Some(size) => {
            let size = match process.console_size() {
                Some(asked) if size.rows == 0 => crate::container::WindowSize {
                    rows: u16::try_from(asked.height()).unwrap_or(u16::MAX),
                    columns: u16::try_from(asked.width()).unwrap_or(u16::MAX),
                },
                _ => size,
            };
            InitStep::OpenTerminal { size, owner: *owner, console: true }
        }
        None => InitStep::OpenPipes { stdin: spec.open_stdin, owner: *owner },
    }
}

/// A filter of the specification goes over the policy beside it.
pub(crate) fn filter(profile: &Option<LinuxSeccomp>, policy: SeccompPolicy) -> Result<Filter, PlanError> {
    match (profile, policy) {
        (Some(profile), _) => seccomp::custom::filter(profile)
            .map(Filter::Own)
            .map_err(|reason| PlanError::new("linux.seccomp", reason)),
        (None, SeccompPolicy::Default) => Ok(Filter::Default),
        (None, SeccompPolicy::Unconfined) => Ok(Filter::None),
    }
}

/// With `no_new_privs` the filter is the very last thing, without it loading needs privileges and must come
/// before they are given up.
pub(crate) fn with_seccomp(
    mut init: Vec<InitStep>,
    filter: &Filter,
    no_new_privileges: bool,
) -> Vec<InitStep> {
    if *filter != Filter::None {
        let drops =
            |step: &InitStep| matches!(step, InitStep::SetUser { .. } | InitStep::SetCapabilities { .. });
        let before_drop = init.iter().position(drops);
        let at = if no_new_privileges { init.len() } else { before_drop.unwrap_or(init.len()) };
        init.insert(at, InitStep::LoadSeccomp);
    }
    init
}

pub(crate) fn program(process: &oci_spec::runtime::Process) -> Result<Program, PlanError> {
    let args = process.args().clone().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        return Err(PlanError::new("process.args", "needs a program"));
    }
    let env = process.env().clone().unwrap_or_default();
    if args.iter().chain(&env).any(|word| word.contains('\0')) {
        return Err(PlanError::new("process", "a NUL byte in an argument or variable"));
    }
    Ok(Program { args, env })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cgroup {}", self.cgroup)?;
        for step in &self.before {
            writeln!(f, "host: {step}")?;
        }
        writeln!(f, "clone: {}", self.namespaces)?;
        for step in &self.after {
            writeln!(f, "host: {step}")?;
        }
        for step in &self.init {
            writeln!(f, "init: {step}")?;
        }
        for step in &self.at_gate {
            writeln!(f, "host: {step}")?;
        }
        let verb = if self.reaper.is_some() { "fork and exec" } else { "exec" };
        writeln!(f, "{verb}: {:?}", self.program.args)
    }
}
