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
