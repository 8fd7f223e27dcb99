//! The data directory: made private, and held by one controller at a time.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written to.
    #[error("the data directory {} cannot be used: {source}", path.display())]
    Unusable {
        /// The directory, or the file in it.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// Another controller has it.
    #[error("the data directory {} is in use by another controller{holder}; stop that one first, or choose another --data-dir", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Its process, in words.
        holder: String,
    },
}

/// The hold on a data directory. It ends with the process, however that ends.
#[derive(Debug)]
pub struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Makes the directory (mode 0700) if it is missing, and locks it.
    ///
    /// # Errors
    /// When it cannot be written to, or another process holds it.
    pub fn hold(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
        if !path.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        }
        let file = path.join("lock");
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&file);
        let mut lock = opened.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::Locked { path: path.to_owned(), holder: holder(&mut lock) });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        sign(&mut lock).map_err(unusable)?;
        Ok(Self { _lock: lock })
    }
}

/// Writes our process id into the lock, for the one who is refused.
fn sign(lock: &mut File) -> io::Result<()> {
    lock.set_permissions(fs::Permissions::from_mode(0o600))?;
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// Who wrote its process id into the lock.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.take(32).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => format!(" (process {})", text.trim()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one_at_a_time() -> Result<(), Box<dyn std::error::Error>> {
        let scratch = tempfile::tempdir()?;
        let path = scratch.path().join("a/b");
        let held = DataDir::hold(&path)?;
        let refused = DataDir::hold(&path).expect_err("held");
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        drop(held);
        DataDir::hold(&path)?;
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o700);
        Ok(())
    }

    #[test]
    fn a_place_that_cannot_be_a_directory_is_refused_with_its_name() {
        let refused = DataDir::hold(Path::new("/dev/null/data")).expect_err("not a directory");
        assert!(refused.to_string().contains("/dev/null/data"), "{refused}");
    }
}
