//! System calls, made for real inside a container: which error the filter gives.

use agent_runtime::container::SeccompPolicy;

use crate::lab::{Lab, Running};
use crate::probe::{self, Gate};

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
/// Killed by SIGSYS.
const KILLED: i32 = 128 + 31;

fn call(lab: &Lab, gate: Gate, number: i64, arguments: [u32; 3]) -> i32 {
    let number = u32::try_from(number).expect("a system call number");
    probe::write(&lab.lower().join("bin/probe"), gate, number, arguments);
    lab.start(&lab.spec(&["probe"])).wait().code
}

#[test]
fn forbidden_calls_fail_with_eperm() {
    let lab = Lab::new();
    // CLONE_NEWNET, CLONE_NEWUSER; KEYCTL_GET_KEYRING_ID; AF_ALG and AF_VSOCK streams.
    for (name, number, arguments) in [
        ("unshare", libc::SYS_unshare, [0x4000_0000, 0, 0]),
        ("unshare a user namespace", libc::SYS_unshare, [0x1000_0000, 0, 0]),
        ("clone into a user namespace", libc::SYS_clone, [0x1000_0011, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [0, 0, 0]),
        ("add_key", libc::SYS_add_key, [0, 0, 0]),
        ("AF_ALG", libc::SYS_socket, [38, 5, 0]),
        ("AF_VSOCK", libc::SYS_socket, [40, 1, 0]),
        ("bpf", libc::SYS_bpf, [0, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0]),
        ("mount", libc::SYS_mount, [0, 0, 0]),
        ("setns", libc::SYS_setns, [0, 0, 0]),
        ("kexec_load", libc::SYS_kexec_load, [0, 0, 0]),
        ("personality", libc::SYS_personality, [0x40000, 0, 0]),
    ] {
        assert_eq!(call(&lab, Gate::X86_64, number, arguments), EPERM, "{name}");
    }
}

#[test]
fn calls_that_have_an_older_form_do_not_exist() {
    let lab = Lab::new();
    assert_eq!(call(&lab, Gate::X86_64, libc::SYS_clone3, [0, 0, 0]), ENOSYS);
    assert_eq!(call(&lab, Gate::X86_64, 511, [0, 0, 0]), ENOSYS, "a call of tomorrow");
    assert_eq!(call(&lab, Gate::X86_64, 0x4000_0000 + 39, [0, 0, 0]), ENOSYS, "getpid of x32");
}

#[test]
fn ordinary_calls_work() {
    let lab = Lab::new();
    assert_eq!(call(&lab, Gate::X86_64, libc::SYS_getpid, [0, 0, 0]), 0);
    assert_eq!(call(&lab, Gate::X86_64, libc::SYS_socket, [1, 1, 0]), 0, "AF_UNIX");
    assert_eq!(call(&lab, Gate::X86_64, libc::SYS_socket, [2, 1, 0]), 0, "AF_INET");
    assert_eq!(call(&lab, Gate::X86_64, libc::SYS_personality, [0xffff_ffff, 0, 0]), 0);
}

#[test]
fn anybody_may_ping_in_a_network_of_its_own_and_in_a_given_one() {
    let lab = Lab::new();
    let socket = u32::try_from(libc::SYS_socket).expect("a number");
    probe::write(&lab.lower().join("bin/probe"), Gate::X86_64, socket, [2, 2, 1]);
    let mut spec = lab.spec(&["probe"]);
    if let Some(process) = spec.oci.process_mut() {
        process.user_mut().set_uid(1000).set_gid(1000);
    }
    assert_eq!(lab.start(&spec).wait().code, 0, "its own");
    let own = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
    let home = std::fs::File::open("/proc/thread-self/ns/net").expect("a namespace");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
    let given = std::fs::File::open("/proc/thread-self/ns/net").expect("a namespace");
    nix::sched::setns(&home, nix::sched::CloneFlags::CLONE_NEWNET).expect("back");
    assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace"), own);
    let given = Some(std::os::fd::AsFd::as_fd(&given));
    let spawned = agent_runtime::process::create(&spec, given, &lab.staging)
        .unwrap_or_else(|error| panic!("create: {error}"));
    assert_eq!(Running::start(spawned).expect("it starts").wait().code, 0, "a given one");
}

#[test]
fn a_call_through_the_table_of_32_bit_programs_kills() {
    let lab = Lab::new();
    assert_eq!(call(&lab, Gate::I386, 20, [0, 0, 0]), KILLED, "getpid");
}

#[test]
fn without_a_filter_the_kernel_decides() {
    let lab = Lab::new();
    let number = u32::try_from(libc::SYS_keyctl).expect("a number");
    probe::write(&lab.lower().join("bin/probe"), Gate::X86_64, number, [0, 0, 0]);
    let mut spec = lab.spec(&["probe"]);
    spec.seccomp = SeccompPolicy::Unconfined;
    assert_ne!(lab.start(&spec).wait().code, EPERM);
}
