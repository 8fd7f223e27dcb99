//! A directory of the host that no container may change: everything about it before and after.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::lab::Lab;

/// What `stat` and the content say of one name.
type Leaf = (u32, u32, u32, i64, i64, u64, Vec<u8>);

/// The directory, and what it looked like when it was made.
pub(super) struct Canary {
    pub(super) path: PathBuf,
    was: BTreeMap<PathBuf, Leaf>,
    mounts: usize,
}

impl Canary {
    pub(super) fn new(lab: &Lab) -> Canary {
        let path = lab.dir.path().join("canary");
        fs::create_dir_all(path.join("folder/deep")).expect("a directory");
        for name in ["file", "folder/file", "folder/deep/file", "null", "hosts", "evil"] {
            fs::write(path.join(name), "untouched").expect("a file");
        }
        // Whoever gets here may write: only not getting here protects it.
        for name in ["", "folder", "folder/deep", "file", "null", "hosts", "evil"] {
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o777)).expect("a mode");
        }
        let was = leaves(&path);
        let mounts = mounts(lab.dir.path());
        Canary { path, was, mounts }
    }

    /// Fails when anything is there, gone, or other than before, or the host has another number of mounts.
    pub(super) fn check(&self, what: &str) {
        let is = leaves(&self.path);
        for (path, leaf) in &self.was {
            assert_eq!(is.get(path), Some(leaf), "{what}: {} has changed", path.display());
        }
        assert_eq!(is.len(), self.was.len(), "{what}: {:?} is new", is.keys().collect::<Vec<_>>());
        let folder = self.path.parent().expect("the directory of the test");
        assert_eq!(mounts(folder), self.mounts, "{what}: the host has another mount");
    }
}

/// Mounts of or below `folder`. Others come and go: network namespaces of whoever else tests here, whose names
/// are taken away.
fn mounts(folder: &Path) -> usize {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").expect("the mounts of this thread");
    let folder = folder.display().to_string();
    text.lines().filter(|line| line.contains(&folder)).count()
}

fn leaves(path: &Path) -> BTreeMap<PathBuf, Leaf> {
    let mut found = BTreeMap::new();
    let stat = fs::symlink_metadata(path).expect("a name");
    let content = if stat.is_file() { fs::read(path).expect("a file") } else { Vec::new() };
    let leaf = (stat.mode(), stat.uid(), stat.gid(), stat.mtime(), stat.mtime_nsec(), stat.nlink(), content);
    found.insert(path.to_owned(), leaf);
    if stat.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            found.extend(leaves(&entry.expect("an entry").path()));
        }
    }
    found
}
