//! The plan of a further process in a running container: who it is and what its streams are. What it joins is
//! given: the namespaces of the container's first process. Pure.

use super::step::{HostStep, InitStep};
use super::{Filter, Namespaces, PlanError, Program, check_id, filter, identity, program, with_seccomp};
use crate::capabilities::CapSet;
use crate::container::ExecSpec;

/// Everything that makes one further process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinPlan {
    /// The bounding set: what the seccomp filter is made for.
    pub capabilities: CapSet,
    /// In the keeper, before the process joins anything.
    pub host: Vec<HostStep>,
    /// In the process, once it has joined.
    pub init: Vec<InitStep>,
    /// In the keeper, with the process at its gate.
    pub at_gate: Vec<HostStep>,
    /// Which system call filter it loads.
    pub filter: Filter,
    /// What is executed.
    pub program: Program,
}

/// Plans the process `spec` of a container with these namespaces.
pub(crate) fn plan(spec: &ExecSpec, namespaces: &Namespaces) -> Result<JoinPlan, PlanError> {
    check_id(&spec.id)?;
    let process = &spec.process;
    for (field, asked) in [
        ("process.apparmorProfile", process.apparmor_profile().is_some()),
        ("process.selinuxLabel", process.selinux_label().is_some()),
        ("process.scheduler", process.scheduler().is_some()),
    ] {
        if asked {
            return Err(PlanError::new(field, "is not supported"));
        }
    }
    let identity = identity::plan(process, namespaces)?;
    let mut host = vec![HostStep::EnterCgroup];
    host.extend(identity.host);
    let mut init = vec![InitStep::NewSession];
    if namespaces.user.is_some() {
        init.push(InitStep::BecomeRoot(Vec::new()));
    }
    let owner = identity.owner;
    init.push(match spec.terminal {
        Some(size) => InitStep::OpenTerminal { size, owner, console: false },
        None => InitStep::OpenPipes { stdin: spec.open_stdin, owner },
    });
    init.extend(identity.init);
    init.push(InitStep::CloseDescriptors);
    let filter = filter(&spec.profile, spec.seccomp)?;
    Ok(JoinPlan {
        capabilities: identity.capabilities,
        host,
        init: with_seccomp(init, &filter, process.no_new_privileges().unwrap_or(false)),
        filter,
        at_gate: identity.at_gate,
        program: program(process)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{SeccompPolicy, WindowSize};
    use crate::defaults::{self, IdRange};
    use crate::plan::{HostFacts, namespace};

    #[test]
    fn a_joining_process_is_confined_like_the_first_and_makes_nothing() {
        let oci = defaults::spec(Some(IdRange { base: 1 << 20, size: 65_536 }));
        let linux = oci.linux().clone().expect("linux");
        let facts = HostFacts { network_given: true, cgroup_v1: false };
        let namespaces = namespace::plan(&linux, facts).expect("namespaces");
        let mut process = oci.process().clone().expect("a process");
        process.set_args(Some(vec!["sh".to_owned()]));
        let size = WindowSize { rows: 24, columns: 80 };
        let spec = ExecSpec {
            id: "e1".to_owned(),
            process,
            terminal: Some(size),
            open_stdin: true,
            seccomp: SeccompPolicy::Default,
            profile: None,
        };
        let plan = plan(&spec, &namespaces).expect("a plan");
        let lines: Vec<String> = plan
            .host
            .iter()
            .map(ToString::to_string)
            .chain(plan.init.iter().map(ToString::to_string))
            .chain(plan.at_gate.iter().map(ToString::to_string))
            .collect();
        expect_test::expect![[r#"
            enter-cgroup
            new-session
            become-root
            open-terminal 80x24 owner=0:0
            change-directory /
            limit-capabilities CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,SETGID,SETUID,SETPCAP,NET_BIND_SERVICE,NET_RAW,SYS_CHROOT,MKNOD,AUDIT_WRITE,SETFCAP
            set-user 0:0 groups [0] umask 0022
            set-capabilities CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,SETGID,SETUID,SETPCAP,NET_BIND_SERVICE,NET_RAW,SYS_CHROOT,MKNOD,AUDIT_WRITE,SETFCAP
            no-new-privileges
            close-descriptors
            load-seccomp
            set-rlimit nofile 1024:524288
        "#]]
        .assert_eq(&(lines.join("\n") + "\n"));
    }
}
