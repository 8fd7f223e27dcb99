//! Sending signals by any number, and the signal state that an executed program would inherit.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;

/// What the keeper or Rust's start-up sets to "ignore", which survives `execve`.
const IGNORED: [libc::c_int; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE, libc::SIGTERM, libc::SIGCHLD];

/// `struct sigaction` as the kernel has it; all zero is the default action.
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Gives the signals a daemon ignores, and those of `more` (bit n is signal n + 1, as `SigIgn` of
/// `/proc/PID/status`), their default action again and unblocks all.
pub(crate) fn reset(more: u64) -> io::Result<()> {
    let default = KernelAction { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    for signal in 1..=64 {
        if more >> (signal - 1) & 1 == 0 && !IGNORED.contains(&signal) {
            continue;
        }
        // SAFETY: `default` has the kernel's layout, is only read during the call and installs no code; the
        // mask's size is given. The library's wrapper would refuse the two signals it keeps for itself.
        checked(unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                std::ptr::from_ref(&default),
                std::ptr::null_mut::<KernelAction>(),
                size_of::<u64>(),
            )
        })?;
    }
    nix::sys::signal::SigSet::empty().thread_set_mask().map_err(io::Error::from)
}

/// `pidfd_send_signal(2)` with any signal the kernel has; rustix knows only those with names, which leaves out
/// the real-time ones.
pub(crate) fn send(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and no signal information is passed.
    checked(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0_u32,
        )
    })?;
    Ok(())
}

/// The `SigIgn` mask in the text of a `/proc/PID/status`.
pub(crate) fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Blocks every signal, the two that the C library keeps for itself included.
pub(crate) fn block_all() -> io::Result<()> {
    set_mask(u64::MAX)
}

/// Unblocks every signal.
pub(crate) fn unblock_all() -> io::Result<()> {
    set_mask(0)
}

fn set_mask(mask: u64) -> io::Result<()> {
    // SAFETY: the new mask is eight bytes, as its size says, and only read; the old one is not asked for.
    checked(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            std::ptr::from_ref(&mask),
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    })
    .map(drop)
}

/// Waits for any signal, which must be blocked, and takes it.
pub(crate) fn wait() -> io::Result<i32> {
    let all = u64::MAX;
    // SAFETY: the set is eight bytes, as its size says, and only read; neither information nor a timeout is passed.
    let signal = checked(unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            std::ptr::from_ref(&all),
            std::ptr::null_mut::<libc::siginfo_t>(),
            std::ptr::null::<libc::timespec>(),
            size_of::<u64>(),
        )
    })?;
    Ok(i32::try_from(signal).unwrap_or(0))
}

/// `kill(2)` with any signal; for children that have not been reaped.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: only plain integers are passed.
    checked(unsafe { libc::syscall(libc::SYS_kill, pid, signal) }).map(drop)
}
