//! Locks the calling process up before it reads what strangers made: one directory as its root, no network, few
//! capabilities, a short list of system calls, limits. For processes that the agent starts for one piece of work;
//! containers are confined by their plan instead.
//!
//! Deliberately absent: a user namespace. Who unpacks layers gives files to any owner, as only the host's root may.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::CloneFlags;
use oci_spec::runtime::LinuxSeccomp;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use crate::capabilities::{self, CapSet};
use crate::rootfs::mount;
use crate::seccomp::custom;
use crate::sys;
use crate::sys::mount::{MountAttr, mount_setattr};

/// What a process keeps.
#[derive(Debug, Clone, Copy)]
pub struct Sandbox<'a> {
    /// Names of its capabilities, such as `CAP_CHOWN`.
    pub capabilities: &'a [&'a str],
    /// The system calls it may make; any other ends it.
    pub calls: &'a LinuxSeccomp,
    /// Most bytes of memory that it writes to (`RLIMIT_DATA`).
    pub memory: u64,
    /// Most bytes in a file that it writes.
    pub file_bytes: u64,
    /// Most descriptors that it has open.
    pub descriptors: u64,
}

/// Why it could not be locked up. The process must end then.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel refused.
    #[error("cannot {0}: {1}")]
    Step(&'static str, #[source] io::Error),
    /// The list of calls cannot be made into a filter.
    #[error("cannot make the filter of system calls: {0}")]
    Filter(String),
}

/// Closes whatever was inherited beside standard input, output and error. For the first line of a `main`: nothing may own
/// a descriptor yet.
///
/// # Errors
/// When the kernel refuses.
pub fn close_inherited() -> io::Result<()> {
    sys::descriptor::close_range(3, u32::MAX)
}

/// Makes the directory that standard output marks the root directory, and locks everything else away. Afterwards standard
/// output and the answer mark the same directory without a way up from it. Standard input and error stay as they are.
///
/// # Errors
/// [`SandboxError`] names the step.
pub fn enter(sandbox: &Sandbox<'_>) -> Result<OwnedFd, SandboxError> {
    let step = |what| move |error| SandboxError::Step(what, error);
    let filter = custom::filter(sandbox.calls).map_err(SandboxError::Filter)?;
    leave_others().map_err(step("let go of other processes"))?;
    limit(sandbox).map_err(step("set limits"))?;
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    // While it lies in the mounts that this process sees.
    let tree = mount::clone(rustix::stdio::stdout(), false).map_err(step("mount the directory"))?;
    nix::sched::unshare(flags).map_err(io::Error::from).map_err(step("make namespaces"))?;
    let root = change_root(&tree).map_err(step("change the root directory"))?;
    let named = |set: u64, name: &&str| set | CapSet::named(name).0;
    let keep = CapSet(sandbox.capabilities.iter().fold(0, named));
    capabilities::limit_bounding(keep)
        .and_then(|()| capabilities::set(keep, keep))
        .map_err(step("drop capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(io::Error::from).map_err(step("refuse new privileges"))?;
    sys::seccomp::load_filter(&filter, 0).map_err(step("load the filter of system calls"))?;
    Ok(root)
}

/// It ends with the one that started it, nobody may look into it, and what it makes has the mode it says.
fn leave_others() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_thread_groups(&[])?;
    rustix::process::umask(Mode::empty());
    Ok(())
}

fn limit(sandbox: &Sandbox<'_>) -> io::Result<()> {
    let limits = [
        (Resource::Core, 0),
        (Resource::Data, sandbox.memory),
        (Resource::Fsize, sandbox.file_bytes),
        (Resource::Nofile, sandbox.descriptors),
    ];
    for (resource, most) in limits {
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// As a container's first process does it; `tree` is a mount that shows nothing but the new root.
fn change_root(tree: &OwnedFd) -> io::Result<OwnedFd> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    mount_setattr(tree.as_fd(), false, &MountAttr { set, ..MountAttr::default() })?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = openat(CWD, "/", flags, Mode::empty())?;
    mount::attach(tree.as_fd(), old.as_fd())?;
    drop(old);
    rustix::process::fchdir(tree)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    let root = openat(CWD, "/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // The one there was lies in the host's mounts.
    rustix::stdio::dup2_stdout(&root)?;
    Ok(root)
}
