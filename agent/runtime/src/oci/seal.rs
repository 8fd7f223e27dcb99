//! Running from a mount that nobody can write through.
//!
//! A process on its way into a container is a copy of this program, and a hostile container may make it execute
//! itself, or open its `/proc/PID/exe`: without a user namespace that is a way to overwrite the runtime on the host.
//! So before a container is made or entered this program executes itself anew from a read-only copy of the mount
//! it lies on, which is in no namespace and cannot be made writable again.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::rootfs::mount::make_read_only;

/// Whether this program is run from a read-only mount already; if not, executes it anew from one and returns only
/// with the reason why that failed.
pub fn sealed_again() -> io::Result<()> {
    let own = "/proc/self/exe";
    if rustix::fs::statvfs(own)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let copy = open_tree(CWD, own, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    make_read_only(copy.as_fd(), false)?;
    let words = |words: Vec<std::ffi::OsString>| -> io::Result<Vec<CString>> {
        let word = |word: std::ffi::OsString| CString::new(word.into_vec()).map_err(io::Error::from);
        words.into_iter().map(word).collect()
    };
    let arguments = words(std::env::args_os().collect())?;
    let environment = words(
        std::env::vars_os()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(std::ffi::OsStr::from_bytes(value.as_bytes()));
                name
            })
            .collect(),
    )?;
    let _: Infallible = nix::unistd::fexecve(copy.as_fd(), &arguments, &environment)?;
    Ok(())
}
