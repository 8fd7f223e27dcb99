//! Kernel settings below `/proc/sys`, of the network namespace of the calling thread.

use std::{io, path::PathBuf};

use super::error::NetworkError;

/// Writes a setting, for example `net/ipv4/ip_forward`.
pub(super) fn set(name: &str, value: &str) -> Result<(), NetworkError> {
    let path = path(name);
    std::fs::write(&path, value).map_err(|source| NetworkError::File { action: "write", path, source })
}

/// Writes a setting that some kernels do not have.
pub(super) fn set_if_there(name: &str, value: &str) -> Result<(), NetworkError> {
    match set(name, value) {
        Err(NetworkError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes a setting unless it has the value: some writes have side effects even then.
pub(super) fn ensure(name: &str, value: &str) -> Result<(), NetworkError> {
    let current = std::fs::read_to_string(path(name));
    if current.is_ok_and(|current| current.trim() == value) { Ok(()) } else { set(name, value) }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}
