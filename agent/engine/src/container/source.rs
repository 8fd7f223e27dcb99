//! Finding the source of a bind on the host: looked up once, answered as a descriptor.
//!
//! A path may be anywhere on the host but in what belongs to the engine: whoever could write there could change every
//! container. Its sockets are left to be bound, except the keeper's, as Docker leaves its own: whoever binds them
//! means it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::EngineError;

/// Opens `path` without reading it; `create` makes a directory of one that does not exist.
pub(super) fn open(path: &Path, create: bool, forbidden: &[PathBuf]) -> Result<OwnedFd, EngineError> {
    let found = match look_up(path) {
        Err(Errno::NOENT) if create => {
            refuse_text(path, forbidden)?;
            std::fs::create_dir_all(path).map_err(|error| EngineError::file("create", path, error))?;
            look_up(path)
        }
        other => other,
    };
    let found = found.map_err(|error| match error {
        Errno::NOENT => {
            EngineError::invalid("mount", format!("bind source path does not exist: {}", path.display()))
        }
        error => EngineError::file("open", path, error.into()),
    })?;
    refuse_own(path, &found, forbidden)?;
    Ok(found)
}

/// The host's links are followed; magic links, which lead into other processes, are not.
fn look_up(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// Before anything is made there.
fn refuse_text(path: &Path, forbidden: &[PathBuf]) -> Result<(), EngineError> {
    match forbidden.iter().find(|own| path.starts_with(own)) {
        Some(own) => Err(belongs_to_engine(path, own)),
        None => Ok(()),
    }
}

fn refuse_own(asked: &Path, found: &OwnedFd, forbidden: &[PathBuf]) -> Result<(), EngineError> {
    use std::os::fd::AsRawFd;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()));
    let real = real.map_err(|error| EngineError::file("open", asked, error))?;
    let kind = rustix::fs::fstat(found).map_err(|error| EngineError::file("open", asked, error.into()))?;
    let is_socket = FileType::from_raw_mode(kind.st_mode) == FileType::Socket;
    let is_keepers = real.file_name().is_some_and(|name| name == "keeper.sock");
    for own in forbidden {
        let own_real = std::fs::canonicalize(own).unwrap_or_else(|_| own.clone());
        if real.starts_with(&own_real) && (!is_socket || is_keepers) {
            return Err(belongs_to_engine(asked, own));
        }
    }
    Ok(())
}

fn belongs_to_engine(path: &Path, own: &Path) -> EngineError {
    let rule = format!(
        "{} belongs to the engine (it is in {}) and cannot be bound; a volume is mounted by its name, like data:/data",
        path.display(),
        own.display()
    );
    EngineError::invalid("mount", rule)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_is_the_engines_own_is_refused_by_any_name() {
        let scratch = tempfile::tempdir_in("/tmp").unwrap();
        let at = |name: &str| scratch.path().join(name);
        std::fs::create_dir_all(at("data/volumes")).unwrap();
        std::fs::create_dir(at("home")).unwrap();
        symlink(at("data"), at("home/link")).unwrap();
        let (_keeper, _agent) = (
            UnixListener::bind(at("data/keeper.sock")).unwrap(),
            UnixListener::bind(at("data/agent.sock")).unwrap(),
        );
        let refused =
            |path: PathBuf, create| open(&path, create, &[at("data")]).map(drop).unwrap_err().to_string();
        for path in ["data", "data/volumes", "home/link", "home/../data", "data/keeper.sock"] {
            assert!(refused(at(path), false).contains("belongs to the engine"), "{path}");
        }
        assert!(refused(at("data/new"), true).contains("belongs to the engine"));
        assert!(!at("data/new").exists());
        open(&at("data/agent.sock"), false, &[at("data")]).unwrap();
        open(&at("home"), false, &[at("data")]).unwrap();
    }

    #[test]
    fn a_missing_source_is_made_only_when_that_was_asked_for() {
        let scratch = tempfile::tempdir_in("/tmp").unwrap();
        let path = scratch.path().join("a/b");
        let error = open(&path, false, &[]).unwrap_err().to_string();
        assert!(error.contains("bind source path does not exist"), "{error}");
        open(&path, true, &[]).unwrap();
        assert!(path.is_dir());
    }

    #[test]
    fn magic_links_are_not_followed() {
        open(Path::new("/proc/self/root/etc"), false, &[]).unwrap_err();
        open(Path::new("/proc/self/fd/0"), false, &[]).unwrap_err();
    }
}
