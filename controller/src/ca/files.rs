//! Files nobody but their owner may read: directories 0700, files 0600, and a
//! file is either the old one or the new one, also after a power cut.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes a directory (and its parents) that only the owner may enter.
///
/// # Errors
/// Whatever the file system answers.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // It may have been there before, with other permissions.
    std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Writes a whole file: temporary name, fsync, rename, fsync of the directory.
///
/// # Errors
/// Whatever the file system answers; the old file is then still there.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"));
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    let temporary = dir.join(temporary);
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

/// Reads a file that may be absent.
///
/// # Errors
/// Whatever the file system answers, except that there is no such file.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_can_read_what_was_written() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("ca");
        std::fs::create_dir(&dir).unwrap();
        private_dir(&dir).unwrap();
        let path = dir.join("root.key");
        write_private(&path, b"old").unwrap();
        std::fs::write(dir.join(".root.key.new"), b"left by a crash").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }
}
