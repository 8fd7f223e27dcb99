//! `clone3(2)`, as a fork into new namespaces.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `struct clone_args`, up to and including `cgroup`.
#[repr(C, align(8))]
#[derive(Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `CLONE_INTO_CGROUP`, which libc has as a wrong type.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Who returns.
#[derive(Debug)]
pub(crate) enum Cloned {
    /// The caller, with its child.
    Parent {
        /// As seen by the caller.
        pid: i32,
        /// Refers to the child.
        pidfd: OwnedFd,
    },
    /// The child: a copy of the caller's memory and descriptors.
    Child,
}

/// Copies this process into the new namespaces `namespaces` (`CLONE_NEW*`), and into a version 2 cgroup.
///
/// # Safety
///
/// The calling process must have one thread, or no other thread may hold a lock (the allocator's included):
/// in the child they stay held for ever. The child must end by `execve` or `_exit`.
pub(crate) unsafe fn clone3(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: namespaces | u64::from(libc::CLONE_PIDFD.unsigned_abs()),
        pidfd: std::ptr::from_mut(&mut pidfd).expose_provenance() as u64,
        // A sibling is reaped by the parent of both, whose signals the kernel does not let us choose.
        exit_signal: if namespaces & u64::from(libc::CLONE_PARENT.unsigned_abs()) == 0 {
            u64::from(libc::SIGCHLD.unsigned_abs())
        } else {
            0
        },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: `args` has the layout and the exact size of the kernel's structure and outlives the call; `pidfd`
    // is where the kernel writes one int. Without CLONE_VM and with no stack given the child goes on here on a
    // copy of this stack, exactly as after fork. What that asks of the process is this function's own contract.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), size_of::<CloneArgs>()) };
    match result {
        0 => Ok(Cloned::Child),
        pid if pid > 0 => {
            // SAFETY: the kernel stored a new descriptor, which nobody else owns, before it returned.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            // Process ids are at most 2^22.
            Ok(Cloned::Parent { pid: i32::try_from(pid).unwrap_or(i32::MAX), pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}
