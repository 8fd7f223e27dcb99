//! How much there is in a container's own layer, or in a volume. Either may change meanwhile, so
//! directories are opened one by one below the layer's own, never through a link.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};

/// Bytes of the files below `root`, each counted once however many names it has.
pub(crate) fn of(root: &Path) -> io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let root = openat(CWD, root, flags, Mode::empty())?;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let (mut waiting, mut seen, mut total) = (vec![PathBuf::from(".")], BTreeSet::new(), 0_u64);
    while let Some(path) = waiting.pop() {
        // What has gone, or lies deeper than a path reaches, does not count.
        let Ok(directory) = openat2(&root, &path, flags, Mode::empty(), beneath) else { continue };
        let Ok(entries) = Dir::read_from(&directory) else { continue };
        for entry in entries {
            let Ok(entry) = entry else { break };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                use std::os::unix::ffi::OsStrExt;
                waiting.push(path.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
            } else if stat.st_nlink == 1 || seen.insert(stat.st_ino) {
                total = total.saturating_add(u64::try_from(stat.st_size).unwrap_or_default());
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_links_lead_nowhere() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("big"), vec![0; 100_000]).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/file"), vec![0; 1_000]).unwrap();
        std::fs::hard_link(dir.path().join("a/b/file"), dir.path().join("again")).unwrap();
        assert_eq!(of(dir.path()).unwrap(), 1_000);
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        assert!(of(dir.path()).unwrap() < 2_000);
        assert!(of(&dir.path().join("link")).is_err());
    }
}
