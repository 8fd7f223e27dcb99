//! Calls into the kernel that no container has a use for. Each is made with arguments that do nothing where the
//! kernel is reached: a null pointer, a descriptor that is none.

use super::{Outcome, privileged, ran};
use crate::lab::Lab;
use crate::probe::{self, Gate};

const EPERM: i32 = 1;
/// A descriptor that is none.
const NONE: u32 = u32::MAX;

/// Name, number, first three arguments.
const CALLS: &[(&str, libc::c_long, [u32; 3])] = &[
    ("mount a file system", libc::SYS_mount, [0, 0, 0]),
    ("unmount what masks a path", libc::SYS_umount2, [0, 0, 0]),
    ("pivot to another root", libc::SYS_pivot_root, [0, 0, 0]),
    ("open a file system by its type", libc::SYS_fsopen, [0, 0, 0]),
    ("configure a file system", libc::SYS_fsconfig, [NONE, 0, 0]),
    ("make a mount of a file system", libc::SYS_fsmount, [NONE, 0, 0]),
    ("pick up a file system", libc::SYS_fspick, [NONE, 0, 0]),
    ("clone a mount", libc::SYS_open_tree, [NONE, 0, 1]),
    ("move a mount", libc::SYS_move_mount, [NONE, 0, NONE]),
    ("take the flags from a mount", libc::SYS_mount_setattr, [NONE, 0, 0]),
    ("leave the mount namespace", libc::SYS_unshare, [0x2_0000, 0, 0]),
    ("make a user namespace and be root in it", libc::SYS_unshare, [0x1000_0000, 0, 0]),
    ("make a network namespace", libc::SYS_unshare, [0x4000_0000, 0, 0]),
    ("make a cgroup namespace", libc::SYS_unshare, [0x200_0000, 0, 0]),
    ("enter another namespace", libc::SYS_setns, [NONE, 0, 0]),
    ("open a file of the host by its handle", libc::SYS_open_by_handle_at, [NONE, 0, 0]),
    ("load a kernel module", libc::SYS_init_module, [0, 0, 0]),
    ("load a kernel module from a file", libc::SYS_finit_module, [NONE, 0, 0]),
    ("unload a kernel module", libc::SYS_delete_module, [0, 0, 0]),
    ("load another kernel", libc::SYS_kexec_load, [0, 99, 0]),
    ("load another kernel from a file", libc::SYS_kexec_file_load, [NONE, NONE, 0]),
    ("reboot the host", libc::SYS_reboot, [0, 0, 0]),
    ("swap on a file", libc::SYS_swapon, [0, 0, 0]),
    ("stop swapping", libc::SYS_swapoff, [0, 0, 0]),
    ("account processes to a file", libc::SYS_acct, [1, 0, 0]),
    ("set the host's clock", libc::SYS_clock_settime, [0, 0, 0]),
    ("set the host's time of day", libc::SYS_settimeofday, [1, 0, 0]),
    ("read the kernel's log", libc::SYS_syslog, [10, 0, 0]),
    ("talk to the hardware's ports", libc::SYS_ioperm, [0, 0, 0]),
    ("raise the level of input and output", libc::SYS_iopl, [0, 0, 0]),
    ("load a program into the kernel", libc::SYS_bpf, [0, 0, 0]),
    ("measure other processes", libc::SYS_perf_event_open, [0, 0, 0]),
    ("watch all files", libc::SYS_fanotify_init, [NONE, 0, 0]),
    ("stop the kernel at a page fault", libc::SYS_userfaultfd, [NONE, 0, 0]),
    ("submit calls past the filter", libc::SYS_io_uring_setup, [1, 0, 0]),
    ("enter a ring of calls", libc::SYS_io_uring_enter, [NONE, 0, 0]),
    ("register with a ring of calls", libc::SYS_io_uring_register, [NONE, 0, 0]),
    ("read keys of the host", libc::SYS_keyctl, [0, 0, 0]),
    ("add a key to the host", libc::SYS_add_key, [0, 0, 0]),
    ("ask for a key of the host", libc::SYS_request_key, [0, 0, 0]),
    ("set quotas", libc::SYS_quotactl, [NONE, 0, 0]),
    ("use the kernel's cryptography", libc::SYS_socket, [38, 5, 0]),
    ("talk to the hypervisor", libc::SYS_socket, [40, 1, 0]),
    ("turn off the protection of addresses", libc::SYS_personality, [0x4_0000, 0, 0]),
];

#[test]
fn every_call_is_refused_by_the_filter_and_reaches_the_kernel_without_it() {
    let lab = Lab::new();
    let probe = lab.lower().join("bin/probe");
    let mut outcome = Outcome::default();
    for (name, number, arguments) in CALLS {
        probe::write(&probe, Gate::X86_64, u32::try_from(*number).expect("a number"), *arguments);
        let defended = ran(&lab, &["probe"], |_| ()).code;
        let loosened = ran(&lab, &["probe"], privileged).code;
        outcome.add(name, defended != EPERM, loosened != EPERM && loosened >= 0, &(defended, loosened));
    }
    outcome.finish();
}

#[test]
fn the_user_namespace_refuses_what_the_filter_would_have_let_through() {
    // Each wall alone holds: here the filter is gone and only the ids and capabilities are left.
    let lab = Lab::new();
    let probe = lab.lower().join("bin/probe");
    let mut outcome = Outcome::default();
    for (name, number, arguments) in [
        ("reboot the host", libc::SYS_reboot, [0, 0, 0]),
        ("set the host's time", libc::SYS_clock_settime, [0, 0, 0]),
        ("swap on a file", libc::SYS_swapon, [0, 0, 0]),
        ("enter another namespace", libc::SYS_unshare, [0x4000_0000, 0, 0]),
        ("account processes to a file", libc::SYS_acct, [1, 0, 0]),
    ] {
        probe::write(&probe, Gate::X86_64, u32::try_from(number).expect("a number"), arguments);
        let alone = ran(&lab, &["probe"], super::unfiltered).code;
        // The time's address is looked at before the right to set it.
        let refused = alone == EPERM || (number == libc::SYS_clock_settime && alone == libc::EFAULT);
        outcome.add(name, !refused, true, &alone);
    }
    outcome.finish();
}

#[test]
fn a_file_of_roots_does_not_make_a_root() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    let path = lab.lower().join("bin/probe");
    probe::write(&path, Gate::X86_64, u32::try_from(libc::SYS_setuid).expect("a number"), [0, 0, 0]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755)).expect("a mode");
    let user = |no_new_privileges: bool| {
        ran(&lab, &["probe"], |spec| {
            if let Some(process) = spec.oci.process_mut() {
                process.user_mut().set_uid(1000).set_gid(1000);
                process.set_no_new_privileges(Some(no_new_privileges));
            }
        })
    };
    assert_eq!((user(true).code, user(false).code), (EPERM, 0));
}
