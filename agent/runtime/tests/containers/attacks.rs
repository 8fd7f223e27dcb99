//! Attacks, each run twice: on a container as everybody gets it, where it must fail, and on one whose
//! specification lacks the defence, where it must succeed: otherwise the first would prove nothing.

mod calls;
mod canary;
mod descriptors;
mod every_call;
mod kernel;
mod paths;
mod race;

use std::collections::HashSet;

use agent_runtime::container::{ContainerSpec, SeccompPolicy};
use oci_spec::runtime::{
    Capability, LinuxCapabilities, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespaceType,
};

use crate::lab::{Lab, Ran};

/// What became of a table of attacks, each on a line that the runner of the mutants (`tests/engine/mutants/run`) looks
/// for.
#[derive(Default)]
struct Outcome {
    all: usize,
    beaten: usize,
    lines: Vec<String>,
}

impl Outcome {
    /// The attack `name`: it succeeded against the defence, and where there is none.
    fn add(&mut self, name: &str, beaten: bool, possible: bool, seen: &dyn std::fmt::Debug) {
        self.all += 1;
        if beaten {
            self.beaten += 1;
            self.lines.push(format!("beaten: {name}\n    {seen:?}"));
        }
        if !possible {
            self.lines.push(format!("powerless: {name}: it fails also without the defence\n    {seen:?}"));
        }
    }

    /// Fails when anything is not as it should be.
    #[track_caller]
    fn finish(mut self) {
        if self.all == self.beaten {
            self.lines.push("beaten: *".to_owned());
        }
        assert!(
            self.lines.is_empty(),
            "{} of {} attacks succeed\n{}",
            self.beaten,
            self.all,
            self.lines.join("\n")
        );
    }
}

/// Capabilities that the harmless half of these attacks needs.
const STRONG: [Capability; 9] = [
    Capability::SysAdmin,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysBoot,
    Capability::SysTime,
    Capability::SysPtrace,
    Capability::Syslog,
    Capability::SysPacct,
    Capability::DacReadSearch,
];

/// Without a filter.
fn unfiltered(spec: &mut ContainerSpec) {
    spec.seccomp = SeccompPolicy::Unconfined;
}

/// Nothing masked, nothing read-only.
fn unmasked(spec: &mut ContainerSpec) {
    if let Some(linux) = spec.oci.linux_mut() {
        linux.set_masked_paths(None).set_readonly_paths(None);
    }
}

/// Every device may be opened.
fn all_devices(spec: &mut ContainerSpec) {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true).set_typ(Some(LinuxDeviceType::A)).set_access(Some("rwm".to_owned()));
    if let Some(resources) = spec.oci.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
        resources.set_devices(Some(vec![rule]));
    }
}

/// User 0 of the host, with more capabilities than anybody should have.
fn of_the_host(spec: &mut ContainerSpec) {
    if let Some(linux) = spec.oci.linux_mut() {
        linux.set_uid_mappings(None).set_gid_mappings(None);
        if let Some(namespaces) = linux.namespaces_mut() {
            namespaces.retain(|namespace| namespace.typ() != LinuxNamespaceType::User);
        }
    }
    if let Some(process) = spec.oci.process_mut() {
        let mut all: HashSet<Capability> = agent_runtime::defaults::CAPABILITIES.into_iter().collect();
        all.extend(STRONG);
        let mut sets = LinuxCapabilities::default();
        sets.set_bounding(Some(all.clone())).set_permitted(Some(all.clone())).set_effective(Some(all));
        sets.set_inheritable(None).set_ambient(None);
        process.set_capabilities(Some(sets)).set_no_new_privileges(Some(false));
    }
}

/// All of it.
fn privileged(spec: &mut ContainerSpec) {
    unfiltered(spec);
    unmasked(spec);
    all_devices(spec);
    of_the_host(spec);
}

/// Runs a container whose specification was changed by `change`.
fn ran(lab: &Lab, args: &[&str], change: impl FnOnce(&mut ContainerSpec)) -> Ran {
    let mut spec = lab.spec(args);
    change(&mut spec);
    // The layers of a container that shares the host's ids belong to the host's root.
    let linux = spec.oci.linux().as_ref();
    let mapped =
        linux.is_some_and(|linux| linux.uid_mappings().as_ref().is_some_and(|maps| !maps.is_empty()));
    let owner = if mapped { crate::lab::BASE } else { 0 };
    for name in ["upper", "work"] {
        let path = lab.dir.path().join(name);
        // Nothing of the last container is left for this one.
        std::fs::remove_dir_all(&path).expect("a directory of the test");
        std::fs::create_dir(&path).expect("a directory");
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).expect("an owner");
    }
    lab.start(&spec).wait()
}
