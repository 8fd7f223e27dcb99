//! Attestation of further processes: one that is as asked passes, and each thing that is not is named. As in
//! `attest`, the runtime makes one thing and the attestation is shown another.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use agent_runtime::attest::{AttestError, HostView, attest_exec};
use agent_runtime::container::{ContainerSpec, ExecSpec, SeccompPolicy};
use agent_runtime::defaults;
use agent_runtime::process::{Ends, Joining, Progress, join};
use oci_spec::runtime::{Capability, LinuxCapabilities, PosixRlimitBuilder, PosixRlimitType, Process};

use crate::lab::{Lab, Running, reap};

/// A further process at its gate.
struct Gated {
    joining: Option<Joining>,
    /// Its streams: without the master of its terminal it would be hung up on.
    _ends: Vec<Ends>,
    pidfd: OwnedFd,
    pid: i32,
    host: HostView,
}

impl Gated {
    fn new(lab: &Lab, container: &Running, spec: &ExecSpec) -> Gated {
        let rest = container.spawned.as_ref().expect("it runs");
        let made = join(spec, rest.pidfd.as_fd(), &rest.namespaces, &rest.cgroup, &lab.staging);
        let (mut joining, pidfd) = made.unwrap_or_else(|error| panic!("join: {error}"));
        let mut kept = Vec::new();
        loop {
            match joining.advance().unwrap_or_else(|error| panic!("join: {error}")) {
                Progress::AtGate => break,
                Progress::Streams(ends) => kept.push(ends),
                Progress::Waiting => {}
                Progress::Runs => panic!("it ran without a word"),
            }
        }
        let own = i32::try_from(std::process::id()).expect("a process id");
        let host = HostView::observe(Some(own)).expect("the host");
        Gated { pid: joining.pid, joining: Some(joining), _ends: kept, pidfd, host }
    }

    /// The properties that differ.
    fn differs(&self, asked: &(ContainerSpec, ExecSpec), first: i32) -> Vec<String> {
        match attest_exec(&asked.0, &asked.1, self.pid, first, &self.host) {
            Ok(()) => Vec::new(),
            Err(AttestError::Differs(found)) => found.into_iter().map(|found| found.property).collect(),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        drop(self.joining.take());
        reap(&self.pidfd);
    }
}

fn sleeper(lab: &Lab) -> (ContainerSpec, ExecSpec) {
    let container = lab.spec(&["sleep", "60"]);
    let process = container.oci.process().clone().expect("a process");
    let exec = ExecSpec {
        id: "exec-1".to_owned(),
        process,
        terminal: None,
        open_stdin: true,
        seccomp: SeccompPolicy::Default,
        profile: None,
    };
    (container, exec)
}

fn capable(process: &mut Process, more: Capability) {
    let mut set: HashSet<Capability> = defaults::CAPABILITIES.into_iter().collect();
    set.insert(more);
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(set.clone())).set_permitted(Some(set.clone())).set_effective(Some(set));
    sets.set_inheritable(None).set_ambient(None);
    process.set_capabilities(Some(sets));
}

#[test]
fn a_further_process_that_is_as_asked_passes() {
    let lab = Lab::new();
    // What a careless keeper would leave open.
    let root = fs::File::open("/").expect("the root");
    let leaked: Vec<_> = (0..20).map(|_| rustix::io::dup(&root).expect("a descriptor")).collect();
    let mut asked = sleeper(&lab);
    let container = lab.start(&asked.0);
    assert_eq!(Gated::new(&lab, &container, &asked.1).differs(&asked, container.pid), [""; 0]);
    let user = asked.1.process.user_mut();
    user.set_uid(33).set_gid(34).set_additional_gids(Some(vec![35]));
    let limit = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(99_u64).hard(100_u64);
    asked.1.process.set_rlimits(Some(vec![limit.build().expect("a limit")])).set_oom_score_adj(Some(300));
    asked.1.terminal = Some(agent_runtime::container::WindowSize { rows: 24, columns: 80 });
    assert_eq!(Gated::new(&lab, &container, &asked.1).differs(&asked, container.pid), [""; 0]);
    drop(leaked);
}

#[test]
fn one_without_a_user_namespace_passes_as_well() {
    let lab = Lab::new();
    let mut asked = sleeper(&lab);
    asked.0 = lab.spec_for(None, &["sleep", "60"]);
    let container = lab.start(&asked.0);
    assert_eq!(Gated::new(&lab, &container, &asked.1).differs(&asked, container.pid), [""; 0]);
}

/// What is made, and by which properties that shows.
type Change = (&'static str, fn(&mut ExecSpec), &'static [&'static str]);

const WEAKER: &[Change] = &[
    ("no filter", |exec| exec.seccomp = SeccompPolicy::Unconfined, &["Seccomp"]),
    (
        "new privileges",
        |exec| {
            exec.process.set_no_new_privileges(Some(false));
        },
        &["NoNewPrivs"],
    ),
    (
        "one capability more",
        |exec| capable(&mut exec.process, Capability::SysPtrace),
        &["CapPrm", "CapEff", "CapBnd"],
    ),
    (
        "another user",
        |exec| {
            exec.process.user_mut().set_uid(7);
        },
        &["Uid"],
    ),
    (
        "another group",
        |exec| {
            exec.process.user_mut().set_gid(7);
        },
        &["Gid", "Groups"],
    ),
    (
        "a group more",
        |exec| {
            exec.process.user_mut().set_additional_gids(Some(vec![42]));
        },
        &["Groups"],
    ),
    (
        "more open files",
        |exec| {
            let limit = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile);
            let limit = limit.soft(2_000_u64).hard(2_000_u64).build().expect("a limit");
            exec.process.set_rlimits(Some(vec![limit]));
        },
        &["Max open files"],
    ),
];

#[test]
fn everything_weaker_than_asked_is_named() {
    let lab = Lab::new();
    let asked = sleeper(&lab);
    let container = lab.start(&asked.0);
    for (name, weaken, properties) in WEAKER {
        let mut made = asked.1.clone();
        weaken(&mut made);
        let differs = Gated::new(&lab, &container, &made).differs(&asked, container.pid);
        assert_eq!(differs, *properties, "{name}");
    }
}

/// Tampering with the real thing: it is moved out of its cgroup while it stands at its gate.
#[test]
fn one_that_somebody_moved_is_seen() {
    let lab = Lab::new();
    let asked = sleeper(&lab);
    let container = lab.start(&asked.0);
    let gated = Gated::new(&lab, &container, &asked.1);
    assert_eq!(gated.differs(&asked, container.pid), [""; 0]);
    let hierarchy = if lab.staging_is_v1() { "pids" } else { "" };
    let out = format!("/sys/fs/cgroup/{hierarchy}/{}/cgroup.procs", lab.id);
    fs::write(out, gated.pid.to_string()).expect("moved");
    let differs = gated.differs(&asked, container.pid);
    assert!(differs.len() == 1 && differs[0].starts_with("cgroup "), "{differs:?}");
}

#[test]
fn one_in_another_container_is_seen() {
    let lab = Lab::new();
    let asked = sleeper(&lab);
    let container = lab.start(&asked.0);
    let gated = Gated::new(&lab, &container, &asked.1);
    // This process stands for the first one of a container that it is not in.
    let own = i32::try_from(std::process::id()).expect("a process id");
    let differs = gated.differs(&asked, own);
    for kind in ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"] {
        assert!(differs.contains(&format!("ns/{kind}")), "{kind}: {differs:?}");
    }
    let error = attest_exec(&asked.0, &asked.1, gated.pid, 4_000_000, &gated.host).expect_err("nobody");
    assert!(error.has_ended(), "{error}");
}
