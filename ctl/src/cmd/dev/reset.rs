//! `ctl dev --reset`: empties a data directory, if it is one of ours and nothing
//! of it is alive.

use std::os::unix::net::UnixStream;

use super::layout::Layout;
use crate::error::{CommandError, Kind};

/// Empties the directory; a missing one is empty already.
///
/// # Errors
/// When it was not made by `ctl dev`, or is in use.
pub(super) fn reset(layout: &Layout) -> Result<(), CommandError> {
    let root = layout.root.display();
    let mut entries = match std::fs::read_dir(&layout.root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(CommandError::new(Kind::Environment, format!("cannot read {root}: {error}")));
        }
    };
    if entries.next().is_none() {
        return Ok(());
    }
    if !layout.marker().is_file() {
        return Err(CommandError::new(
            Kind::Environment,
            format!("{root} was not made by `ctl dev`, so it is not emptied"),
        )
        .hint("empty it yourself if you are sure, or choose another --data-dir"));
    }
    if UnixStream::connect(layout.run().join("keeper.sock")).is_ok() {
        return Err(CommandError::new(
            Kind::Environment,
            format!("containers of an earlier cluster on {root} still run"),
        )
        .hint("start it once without --reset and stop it with Ctrl-C, then reset"));
    }
    unmount_below(layout);
    std::fs::remove_dir_all(&layout.root)
        .map_err(|error| CommandError::new(Kind::Environment, format!("cannot empty {root}: {error}")))
}

/// Network namespaces of a killed agent are still mounted in its run directory.
fn unmount_below(layout: &Layout) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|path| {
        std::path::Path::new(path).starts_with(&layout.root) && std::path::Path::new(path) != layout.root
    });
    for path in below.collect::<Vec<_>>().into_iter().rev() {
        if let Err(error) = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH) {
            crate::output::note(&format!("cannot unmount {path}: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_ours_is_never_emptied() {
        let dir = std::env::temp_dir().join(format!("ctl-reset-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("made");
        std::fs::write(dir.join("precious"), "x").expect("written");
        let layout = Layout::new(&dir).expect("layout");
        assert!(reset(&layout).is_err());
        assert!(dir.join("precious").exists());
        layout.create().expect("marked");
        reset(&layout).expect("reset");
        assert!(!dir.exists());
    }
}
