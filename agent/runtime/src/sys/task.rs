//! Attributes of a process that neither crate sets.

use std::io;

use super::checked;

/// `struct sched_attr`, version 0.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scheduling {
    /// Size of this structure, in bytes.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// For the ordinary policies.
    pub nice: i32,
    /// For the real-time ones.
    pub priority: u32,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// `personality(2)` of the calling process.
pub(crate) fn set_personality(persona: u32) -> io::Result<()> {
    // SAFETY: takes a plain integer.
    checked(unsafe { libc::syscall(libc::SYS_personality, persona) }).map(drop)
}

/// `sched_setattr(2)` of the calling thread.
pub(crate) fn set_scheduling(attributes: Scheduling) -> io::Result<()> {
    let Ok(size) = u32::try_from(size_of::<Scheduling>()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let attributes = Scheduling { size, ..attributes };
    // SAFETY: the structure has the kernel's layout and says its own size; it is only read during the call.
    checked(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attributes), 0) })
        .map(drop)
}

/// `ioprio_set(2)` of the calling thread: class 1 is real-time, 2 best-effort, 3 idle; level 0 to 7.
pub(crate) fn set_io_priority(class: u32, level: u32) -> io::Result<()> {
    const THREAD: libc::c_int = 1;
    // SAFETY: takes plain integers.
    checked(unsafe { libc::syscall(libc::SYS_ioprio_set, THREAD, 0, class << 13 | level) }).map(drop)
}

/// `unshare(2)` with any flag the kernel has.
pub(crate) fn unshare(flags: u64) -> io::Result<()> {
    // SAFETY: takes plain integers. Only namespaces are unshared by this crate's callers, never descriptors
    // or file system attributes that other threads rely on.
    checked(unsafe { libc::syscall(libc::SYS_unshare, flags) }).map(drop)
}

/// `setns(2)` with any descriptor and flags the kernel has.
pub(crate) fn set_namespace(descriptor: std::os::fd::BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let flags = libc::c_int::try_from(flags).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the descriptor is open for as long as it is borrowed; no memory is passed.
    checked(unsafe { libc::syscall(libc::SYS_setns, descriptor.as_raw_fd(), flags) }).map(drop)
}

/// Marks every descriptor from `first` on to be
/// closed by the next `execve` (`close_range(2)`).
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOEXEC: libc::c_uint = 4;
    // SAFETY: no memory is passed and nothing is closed.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOEXEC) }).map(drop)
}
