//! Ways out through descriptors, the working directory, the runtime's own program, and other processes.

use std::fs;
use std::os::fd::AsFd;

use agent_runtime::container::ContainerSpec;

use super::canary::Canary;
use crate::lab::{Lab, Running};

fn in_directory(lab: &Lab, cwd: &str, script: &str) -> ContainerSpec {
    let mut spec = lab.spec(&["sh", "-c", script]);
    if let Some(process) = spec.oci.process_mut() {
        process.set_cwd(cwd.into());
    }
    spec
}

/// A keeper that leaks: two hundred directories of the host, not even close-on-exec.
#[test]
fn no_descriptor_of_the_keeper_is_a_working_directory() {
    let lab = Lab::new();
    let canary = Canary::new(&lab);
    let directory = fs::File::open(&canary.path).expect("the canary");
    let leaked: Vec<_> = (0..200).map(|_| rustix::io::dup(&directory).expect("a descriptor")).collect();
    for number in (0..300).chain([511, 1023]) {
        let cwd = format!("/proc/self/fd/{number}");
        let spec = in_directory(&lab, &cwd, "busybox pwd; echo evil > evil");
        if let Ok(running) = lab.create(&spec).map(Running::start) {
            let ran = running.expect("it starts").wait();
            assert!(!ran.out.contains("canary"), "{cwd}: {ran:?}");
        }
        canary.check(&cwd);
    }
    drop(leaked);
}

#[test]
fn a_link_to_a_descriptor_is_no_working_directory() {
    let lab = Lab::new();
    let canary = Canary::new(&lab);
    let directory = fs::File::open(&canary.path).expect("the canary");
    let leaked: Vec<_> = (0..20).map(|_| rustix::io::dup(&directory).expect("a descriptor")).collect();
    for number in 3..40 {
        let link = lab.lower().join("way");
        std::os::unix::fs::symlink(format!("/proc/self/fd/{number}"), &link).expect("a link");
        // One that would be made, and one that is there.
        for cwd in ["/way/out", "/way/folder"] {
            let spec = in_directory(&lab, cwd, "echo evil > evil");
            if let Ok(running) = lab.create(&spec).map(Running::start) {
                let _ = running.expect("it starts").wait();
            }
            canary.check(&format!("{cwd} of descriptor {number}"));
        }
        fs::remove_file(link).expect("removed");
    }
    drop(leaked);
}

#[test]
fn a_program_finds_three_descriptors_however_many_the_keeper_leaks() {
    let lab = Lab::new();
    let directory = fs::File::open("/").expect("the root");
    let leaked: Vec<_> = (0..200).map(|_| rustix::io::dup(&directory).expect("a descriptor")).collect();
    // The fourth is the listing's own.
    let ran = lab.sh("ls /proc/self/fd | busybox wc -l; for n in /proc/1/fd/*; do busybox readlink $n; done");
    assert!(ran.out.starts_with("4\n"), "{ran:?}");
    assert!(
        !ran.out.contains("\n/\n") && !ran.out.contains(&lab.dir.path().display().to_string()),
        "{ran:?}"
    );
    drop(leaked);
}

/// The program behind the gate is the runtime's own; a container that executed it could write to it.
#[test]
fn the_runtimes_own_program_is_not_the_containers() {
    let lab = Lab::new();
    let own = std::env::current_exe().expect("this test");
    let before = fs::metadata(&own).expect("this test");
    for program in ["#!/proc/self/exe\n", "#!/proc/1/exe\n", "#!/proc/self/fd/0\n"] {
        let path = lab.lower().join("bin/evil");
        fs::write(&path, program).expect("a program");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
        let spawned = lab.create(&lab.spec(&["/bin/evil"])).unwrap_or_else(|error| panic!("create: {error}"));
        if let Ok(running) = Running::start(spawned) {
            let ran = running.wait();
            assert!(!ran.out.contains("running "), "this test ran in the container: {ran:?}");
        }
    }
    let ran = lab.sh("(exec 3>>/proc/1/exe) && echo won; (exec 3>>/proc/self/exe) && echo won; true");
    // Its own copy, which is the container's, must not be this program.
    assert!(!ran.out.contains("won"), "{ran:?}");
    let after = fs::metadata(&own).expect("this test");
    assert_eq!(before.modified().expect("a time"), after.modified().expect("a time"));
}

#[test]
fn the_host_process_behind_the_gate_cannot_be_read_or_stopped_from_another_container() {
    let lab = Lab::new();
    // Between clone and exec the process is a copy of the keeper: its memory must be nobody's.
    let spawned = lab.create(&lab.spec(&["sleep", "5"])).unwrap_or_else(|error| panic!("create: {error}"));
    let owner = fs::metadata(format!("/proc/{}/mem", spawned.pid)).expect("a process");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 0, "it can be traced by the container's user");
    let running = Running::start(spawned).unwrap_or_else(|error| panic!("start: {error}"));
    drop(running);
}

#[test]
fn a_container_sees_no_process_and_no_socket_of_the_host() {
    let lab = Lab::new();
    let name = format!("runtime-attack-{}", std::process::id());
    let address = rustix::net::SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("a name");
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
    let socket = socket.expect("a socket");
    rustix::net::bind(socket.as_fd(), &address).expect("bound");
    rustix::net::listen(socket.as_fd(), 1).expect("listening");
    let script = format!(
        "busybox grep -c {name} /proc/net/unix; ls -d /proc/[0-9]* | busybox wc -l; kill -9 -1; kill -9 2; echo $?"
    );
    let ran = lab.sh(&script);
    assert!(ran.out.starts_with("0\n3\n"), "{ran:?}");
    let mut loosened = lab.spec(&["sh", "-c", &format!("busybox grep -c {name} /proc/net/unix")]);
    if let Some(linux) = loosened.oci.linux_mut() {
        linux.set_sysctl(None);
        let namespaces = linux.namespaces_mut().as_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace.typ() != oci_spec::runtime::LinuxNamespaceType::Network);
    }
    assert_eq!(lab.start(&loosened).wait().out, "1\n", "without a network of its own it sees the socket");
}
