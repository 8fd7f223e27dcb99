//! System calls that neither rustix nor nix wraps safely.
//!
//! One function is one system call, with the kernel's own meaning and errors. Deliberately absent: decisions,
//! retries, and anything the two crates already offer.

pub(crate) mod bpf;
pub(crate) mod descriptor;
pub(crate) mod link;
pub(crate) mod memory;
pub(crate) mod mount;
pub(crate) mod quota;
pub(crate) mod seccomp;
pub(crate) mod signal;
pub(crate) mod task;

use std::io;

/// Turns the result of a raw call into `Ok(value)` or the current `errno`.
fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
