//! Closing descriptors in bulk and ending without clean-up.

use std::io;

use super::checked;

/// `close_range(2)`: closes every descriptor from `first` to `last`, both included.
///
/// Only for a process about to execute another program, or one that has just begun: every Rust owner of such a
/// descriptor is left with a number that means nothing. The caller must not run destructors of such owners afterwards.
pub(crate) fn close_range(first: u32, last: u32) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: no memory is passed. Descriptors owned elsewhere in this process become invalid; every caller
    // (a child before execve or exit) leaves by execve or `exit`, never by returning into code that owns them,
    // or is the first line of a `main`, before which nothing owns any.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Closes every descriptor from 3 up but the two `kept`. The same is asked of the caller.
pub(crate) fn close_all_but(kept: [u32; 2]) -> io::Result<()> {
    let (low, high) = (kept[0].min(kept[1]), kept[0].max(kept[1]));
    close_range(3, low.saturating_sub(1))?;
    close_range(low.saturating_add(1).max(3), high.saturating_sub(1))?;
    close_range(high.saturating_add(1).max(3), u32::MAX)
}

/// `_exit(2)`: ends the process at once, without destructors, hooks or flushing.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit takes a plain integer and does not return.
    unsafe { libc::_exit(code) }
}
