//! A child of a process with one thread, for callers that are not the keeper: the runtime's command line.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::clone::{Cloned, clone3};
use crate::sys::descriptor::exit;

/// Exit code of a child whose work ended without executing a program.
const ENDED: i32 = 125;

/// Copies this process into the new namespaces `namespaces` (`CLONE_NEW*` bits; `CLONE_PARENT` makes a sibling)
/// and runs `child` there, whose return or panic ends the copy. Returns its id and a descriptor of it.
///
/// A process with more than one thread is refused: in the copy the others' locks would stay held for ever.
pub(crate) fn fork(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce(),
) -> io::Result<(i32, OwnedFd)> {
    one_thread()?;
    // SAFETY: this process has one thread, which was just looked at and nobody else could change; the child
    // leaves by `exit` below at the latest.
    match unsafe { clone3(namespaces, cgroup) }? {
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Cloned::Child => {
            // A panic must not unwind into the caller's code, of which this is a copy.
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            drop(ended);
            exit(ENDED)
        }
    }
}

fn one_thread() -> io::Result<()> {
    let task = rustix::fs::stat("/proc/self/task")?;
    // A directory of directories: itself, its parent's entry for it, and one for each thread.
    if task.st_nlink == 3 {
        return Ok(());
    }
    Err(io::Error::other("a process with several threads cannot make a container"))
}
