//! Joining the namespaces of another container, from inside the child.

use std::io;
use std::os::fd::BorrowedFd;

use crate::plan::step::Joins;
use crate::sys::task::{set_namespace, unshare};

pub(super) fn join(namespace: BorrowedFd<'_>, kind: Joins) -> io::Result<()> {
    let flag = match kind {
        Joins::Ipc => libc::CLONE_NEWIPC,
        Joins::User => libc::CLONE_NEWUSER,
    };
    set_namespace(namespace, u64::from(flag.unsigned_abs()))
}

/// A mount namespace, and which others.
pub(super) fn new_namespaces(ipc: bool, uts: bool, network: bool) -> io::Result<()> {
    let all = [
        (true, libc::CLONE_NEWNS),
        (ipc, libc::CLONE_NEWIPC),
        (uts, libc::CLONE_NEWUTS),
        (network, libc::CLONE_NEWNET),
    ];
    let flags = all.iter().filter(|(new, _)| *new).map(|(_, flag)| u64::from(flag.unsigned_abs()));
    unshare(flags.sum())
}
