//! Loading a seccomp filter.

use std::io;

use super::checked;
use crate::seccomp::Instruction;

/// `seccomp(SECCOMP_SET_MODE_FILTER)` for the calling thread, with `SECCOMP_FILTER_FLAG_*` bits. Cannot be undone.
pub(crate) fn load_filter(program: &[Instruction], flags: u32) -> io::Result<()> {
    let Ok(length) = u16::try_from(program.len()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let header = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `Instruction` has the layout of `struct sock_filter` (repr(C): u16, u8, u8, u32), `header` says
    // how many there are, both live through the call, and the kernel copies them without writing.
    checked(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&header))
    })
    .map(drop)
}
