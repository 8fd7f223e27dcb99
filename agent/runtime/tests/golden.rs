//! The plans of typical containers, as golden text: what a change to the planner changes shows here.

use agent_runtime::container::{ContainerSpec, DESCRIPTOR, LogPolicy, Rootfs, SeccompPolicy, WindowSize};
use agent_runtime::defaults::{self, IdRange};
use agent_runtime::plan::{HostFacts, plan};
use expect_test::{Expect, ExpectFile, expect, expect_file};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Mount, Spec};

fn spec(ids: Option<IdRange>) -> ContainerSpec {
    let mut oci = defaults::spec(ids);
    if let Some(process) = oci.process_mut() {
        process.set_args(Some(vec!["/bin/server".to_owned()])).set_cwd("/srv".into());
    }
    if let Some(linux) = oci.linux_mut() {
        linux.set_cgroups_path(Some("/roadstead/test/c1".into()));
    }
    oci.set_hostname(Some("c1".to_owned()));
    ContainerSpec {
        id: "c1".to_owned(),
        oci,
        rootfs: Rootfs::Overlay {
            lower: vec!["/l2".into(), "/l1".into()],
            upper: "/u".into(),
            work: "/w".into(),
        },
        state_dir: "/s".into(),
        terminal: None,
        open_stdin: false,
        log: LogPolicy::default(),
        seccomp: SeccompPolicy::Default,
        init: false,
        throw_away: false,
        traceparent: None,
    }
}

const IDS: IdRange = IdRange { base: 1_048_576, size: 65_536 };
const HYBRID: HostFacts = HostFacts { network_given: true, cgroup_v1: true };
const V2: HostFacts = HostFacts { network_given: false, cgroup_v1: false };

fn check(spec: &ContainerSpec, host: HostFacts, expected: &ExpectFile) {
    expected.assert_eq(&plan(spec, host).expect("a plan").to_string());
}

fn refused(change: impl FnOnce(&mut Spec), expected: &Expect) {
    let mut spec = spec(Some(IDS));
    change(&mut spec.oci);
    expected.assert_eq(&plan(&spec, V2).expect_err("a refusal").to_string());
}

#[test]
fn the_default_container_on_a_hybrid_host() {
    check(&spec(Some(IDS)), HYBRID, &expect_file!["golden/default-hybrid.txt"]);
}

#[test]
fn a_terminal_without_a_user_namespace_on_version_2() {
    let mut spec = spec(None);
    spec.terminal = Some(WindowSize { rows: 24, columns: 80 });
    if let Some(process) = spec.oci.process_mut() {
        process.user_mut().set_uid(1000).set_gid(100);
    }
    let mut bind = Mount::default();
    bind.set_destination("/etc/hosts".into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some("/data/hosts".into()))
        .set_options(Some(vec!["rbind".to_owned(), "ro".to_owned()]));
    if let Some(mounts) = spec.oci.mounts_mut() {
        mounts.push(bind);
    }
    check(&spec, V2, &expect_file!["golden/terminal-v2.txt"]);
}

fn joining(spec: &mut Spec, joined: &[(LinuxNamespaceType, &str)]) {
    let Some(linux) = spec.linux_mut() else { return };
    let mut listed = linux.namespaces().clone().unwrap_or_default();
    for (kind, path) in joined {
        listed.retain(|namespace| namespace.typ() != *kind);
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(*kind).set_path(Some(path.into()));
        listed.push(namespace);
    }
    linux.set_namespaces(Some(listed));
}

#[test]
fn a_container_joins_the_objects_and_the_users_of_another() {
    use LinuxNamespaceType as Kind;
    let mut spec = spec(Some(IDS));
    joining(&mut spec.oci, &[(Kind::Ipc, "/of/ipc"), (Kind::User, "/of/users")]);
    check(&spec, HYBRID, &expect_file!["golden/objects-hybrid.txt"]);
}

#[test]
fn a_container_joins_the_processes_of_another_with_its_users_or_the_hosts() {
    use LinuxNamespaceType as Kind;
    let mut with_users = spec(Some(IDS));
    joining(&mut with_users.oci, &[(Kind::Pid, "/of/pids"), (Kind::User, "/of/users")]);
    check(&with_users, V2, &expect_file!["golden/processes-v2.txt"]);
    let mut with_the_hosts = spec(None);
    joining(&mut with_the_hosts.oci, &[(Kind::Pid, "/of/pids")]);
    let text = plan(&with_the_hosts, V2).expect("a plan").to_string();
    assert!(text.contains("clone: mount pid=joined ipc uts") && text.contains("init: hide"), "{text}");
    refused(
        |oci| joining(oci, &[(Kind::Pid, "/of/pids")]),
        &expect![
            "linux.namespaces: who joins another container's processes or objects has its users, or the host's"
        ],
    );
    refused(
        |oci| joining(oci, &[(Kind::Uts, "/of/names")]),
        &expect!["linux.namespaces: joining a uts namespace by path is not supported"],
    );
}

fn handed_over(at: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(at.into())
        .set_typ(Some(DESCRIPTOR.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

#[test]
fn mounts_handed_over_are_taken_before_the_clone_and_mapped_after_it() {
    let mut spec = spec(Some(IDS));
    if let Some(mounts) = spec.oci.mounts_mut() {
        mounts.push(handed_over("/srv/data", "0", &["idmap"]));
        mounts.push(handed_over("/dev/shm", "1", &[]));
    }
    check(&spec, V2, &expect_file!["golden/handed-over-v2.txt"]);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    refused(
        |oci| {
            if let Some(mounts) = oci.mounts_mut() {
                mounts.push(handed_over("/x", "/etc", &["idmap"]));
            }
        },
        &expect!["mounts[/x]: its source must be the number of a descriptor handed over"],
    );
    refused(
        |oci| {
            oci.set_process(None);
        },
        &expect!["process: is missing"],
    );
    refused(
        |oci| {
            if let Some(process) = oci.process_mut() {
                process.user_mut().set_uid(70_000);
            }
        },
        &expect!["process.user.uid: 70000 is not an id of the container"],
    );
    refused(
        |oci| {
            if let Some(linux) = oci.linux_mut() {
                linux.set_cgroups_path(Some("/roadstead/../../etc".into()));
            }
        },
        &expect![[r#"linux.cgroupsPath: "/roadstead/../../etc" is not an absolute path without '..'"#]],
    );
    refused(
        |oci| {
            if let Some(linux) = oci.linux_mut() {
                let sysctl = ("kernel.core_pattern".to_owned(), "|/bin/sh".to_owned());
                linux.set_sysctl(Some([sysctl].into()));
            }
        },
        &expect!["linux.sysctl: kernel.core_pattern would change the host"],
    );
}
