//! What cannot be made or started: a clear error, and nothing left behind.

use std::fs;

use agent_runtime::container::Rootfs;
use agent_runtime::process::StartError;

use crate::lab::{Lab, Running, names, reap};

/// Children of this process.
fn children() -> usize {
    let tasks = names("/proc/self/task".as_ref());
    let lists = tasks.iter().map(|task| fs::read_to_string(format!("/proc/self/task/{task}/children")));
    lists.flatten().map(|list| list.split_whitespace().count()).sum()
}

fn start_error(args: &[&str], lab: &Lab) -> StartError {
    let spawned = lab.create(&lab.spec(args)).unwrap_or_else(|error| panic!("create: {error}"));
    match Running::start(spawned) {
        Ok(_) => panic!("{args:?} started"),
        Err(error) => error,
    }
}

#[test]
fn a_missing_program_is_named() {
    let lab = Lab::new();
    for program in ["no-such-program", "/no/such/program"] {
        let error = start_error(&[program], &lab);
        assert_eq!(error.exit_code(), 127);
        assert!(error.to_string().contains(program), "{error}");
    }
}

#[test]
fn a_file_that_is_no_program_is_named() {
    let lab = Lab::new();
    fs::write(lab.lower().join("etc/text"), "not a program").expect("a file");
    for program in ["/etc/text", "/etc"] {
        let error = start_error(&[program], &lab);
        assert_eq!(error.exit_code(), 126, "{error}");
        assert!(error.to_string().contains(program), "{error}");
    }
}

#[test]
fn a_gate_that_is_never_opened_ends_the_process() {
    let lab = Lab::new();
    let spawned = lab.create(&lab.spec(&["sleep", "60"])).unwrap_or_else(|error| panic!("create: {error}"));
    drop(spawned.gate);
    assert_eq!(reap(&spawned.pidfd), 125);
    spawned.cgroup.remove().expect("removed");
}

#[test]
fn a_failed_creation_leaves_no_cgroup_and_no_process() {
    let lab = Lab::new();
    // The handle keeps the hierarchies open from its first use on.
    assert!(!lab.cgroup().exists());
    let before = children();
    let descriptors = names("/proc/self/fd".as_ref()).len();
    let mut broken = lab.spec(&["sleep", "1"]);
    broken.rootfs = Rootfs::Directory { path: "/no/such/root".into(), read_only: false };
    let mut missing_bind = lab.spec(&["sleep", "1"]);
    let mut bind = oci_spec::runtime::Mount::default();
    bind.set_destination("/x".into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some("/no/such/source".into()))
        .set_options(None);
    if let Some(mounts) = missing_bind.oci.mounts_mut() {
        mounts.push(bind);
    }
    let mut late = lab.spec(&["sleep", "1"]);
    if let Some(process) = late.oci.process_mut() {
        process.set_cwd("/bin/busybox".into());
    }
    for (spec, name) in [(broken, "/no/such/root"), (missing_bind, "/no/such/source"), (late, "/bin/busybox")]
    {
        let error = lab.create(&spec).map(drop).expect_err("nothing to run in").to_string();
        assert!(error.contains(name), "{error}");
        assert!(!lab.cgroup().exists(), "{name}");
        assert_eq!(children(), before, "{name}");
        assert_eq!(names("/proc/self/fd".as_ref()).len(), descriptors, "{name}");
    }
}

#[test]
fn an_impossible_limit_is_named_and_undone() {
    let lab = Lab::new();
    let mut spec = lab.spec(&["sleep", "1"]);
    let cpu = oci_spec::runtime::LinuxCpuBuilder::default().cpus("4000-4001").build().expect("cpus");
    if let Some(resources) = spec.oci.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
        resources.set_cpu(Some(cpu));
    }
    let error = lab.create(&spec).map(drop).expect_err("processors nobody has").to_string();
    assert!(error.contains("cpuset.cpus"), "{error}");
    assert!(!lab.cgroup().exists());
}

#[test]
fn the_network_namespace_of_the_keeper_is_its_own_again() {
    let lab = Lab::new();
    let own = fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
    let holder = lab.start(&lab.spec(&["sleep", "60"]));
    let netns = fs::File::open(format!("/proc/{}/ns/net", holder.pid)).expect("a namespace");
    let mut spec =
        lab.spec(&["sh", "-c", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ls /sys/class/net; cat"]);
    spec.open_stdin = true;
    spec.id.push_str("-second");
    if let Some(linux) = spec.oci.linux_mut() {
        linux.set_cgroups_path(Some(format!("{}-second", lab.cgroup_path()).into()));
    }
    let result = agent_runtime::process::create(&spec, Some(std::os::fd::AsFd::as_fd(&netns)), &lab.staging);
    assert_eq!(fs::read_link("/proc/thread-self/ns/net").expect("a namespace"), own);
    let running =
        Running::start(result.unwrap_or_else(|error| panic!("create: {error}"))).expect("it starts");
    assert_eq!(running.link("ns/net"), holder.link("ns/net"));
    assert_eq!(running.wait().out, "0\nlo\n");
}
