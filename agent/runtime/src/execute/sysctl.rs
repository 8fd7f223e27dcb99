//! Writing a sysctl by its dotted name.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Writes `value` to `name` below the directory `sys` (`/proc/sys` of some procfs), without following links.
pub(super) fn write(sys: impl AsFd, name: &str, value: &str) -> io::Result<()> {
    let path = name.replace('.', "/");
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(sys, path, flags, Mode::empty(), resolve)?;
    match rustix::io::write(&file, value.as_bytes())? {
        count if count == value.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}
