//! What is asked of the kernel, as it answers. A file that cannot be read is empty; what cannot be told is `None`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use agent_runtime::cgroup::Layout;

/// What a host says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// "v1", "v2" or "hybrid".
    pub(super) cgroups: Option<&'static str>,
    pub(super) controllers: BTreeSet<String>,
    /// Whether groups have files for swap, weights of disks and real-time budgets.
    pub(super) swap: Option<bool>,
    pub(super) weights: Option<bool>,
    pub(super) real_time: Option<bool>,
    /// Most of them.
    pub(super) user_namespaces: u64,
    /// Version and its first part.
    pub(super) kernel: (u32, u32),
    pub(super) overlay: bool,
    pub(super) seccomp: bool,
    pub(super) security_modules: BTreeSet<String>,
    /// The table of mounts.
    pub(super) mounts: String,
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn has_word(text: &str, wanted: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == wanted)
}

impl Facts {
    pub(super) fn read(layout: Option<&Layout>, hierarchies: &[(String, Vec<String>)]) -> Facts {
        let group_has = |controller: &str, names: &[&str]| {
            let of =
                |(_, controllers): &&(String, Vec<String>)| controllers.iter().any(|one| one == controller);
            let mount = hierarchies.iter().find(of).map(|(point, _)| point.as_str())?;
            in_a_group(Path::new(mount), controller, names)
        };
        let mut modules: BTreeSet<String> =
            text("/sys/kernel/security/lsm").trim().split(',').map(str::to_owned).collect();
        // Without securityfs these two still show themselves.
        if text("/sys/module/apparmor/parameters/enabled").trim() == "Y" {
            modules.insert("apparmor".to_owned());
        }
        if Path::new("/sys/fs/selinux/enforce").exists() {
            modules.insert("selinux".to_owned());
        }
        Facts {
            cgroups: layout.map(Layout::version),
            controllers: hierarchies.iter().flat_map(|(_, controllers)| controllers.clone()).collect(),
            swap: group_has("memory", &["memory.memsw.limit_in_bytes", "memory.swap.max"]),
            weights: group_has("blkio", &["blkio.weight", "blkio.bfq.weight"])
                .or_else(|| group_has("io", &["io.weight", "io.bfq.weight"])),
            real_time: group_has("cpu", &["cpu.rt_runtime_us"]),
            user_namespaces: text("/proc/sys/user/max_user_namespaces").trim().parse().unwrap_or(0),
            kernel: version(&text("/proc/sys/kernel/osrelease")),
            // A module that is not loaded yet is at the first mount.
            overlay: has_word(&text("/proc/filesystems"), "overlay")
                || Path::new("/sys/module/overlay").exists(),
            seccomp: has_word(&text("/proc/sys/kernel/seccomp/actions_avail"), "errno"),
            security_modules: modules,
            mounts: text("/proc/self/mountinfo"),
        }
    }

    /// Type and options of the file system that `path` lies on.
    pub(super) fn mount_of(&self, path: &Path) -> (String, BTreeSet<String>) {
        let line = |line: &str| {
            let (left, right) = line.split_once(" - ")?;
            let point = left.split(' ').nth(4)?;
            let mut right = right.split(' ');
            let (kind, options) = (right.next()?.to_owned(), right.nth(1)?.to_owned());
            path.starts_with(point).then_some((point.len(), kind, options))
        };
        // Of two at one place the later hides the earlier.
        let found = self.mounts.lines().filter_map(line).max_by_key(|(length, ..)| *length);
        let (_, kind, options) = found.unwrap_or_default();
        (kind, options.split(',').map(str::to_owned).collect())
    }
}

/// Whether groups of a hierarchy have one of these files. Most files are not in the root group, so its children are
/// looked at; a hierarchy without any, or without this controller in them, tells nothing.
fn in_a_group(root: &Path, controller: &str, names: &[&str]) -> Option<bool> {
    let has = |group: &Path| names.iter().any(|name| group.join(name).exists());
    if has(root) {
        return Some(true);
    }
    let children =
        fs::read_dir(root).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    let mut told = None;
    for group in children {
        // Of version 2, a group has a controller's files only where its parent hands that down.
        let controllers = group.join("cgroup.controllers");
        if controllers.exists()
            && !fs::read_to_string(controllers).is_ok_and(|text| has_word(&text, controller))
        {
            continue;
        }
        if has(&group) {
            return Some(true);
        }
        told = Some(false);
    }
    told
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.trim().split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_two_numbers_and_more() {
        assert_eq!(version("6.18.44-fc-v669\n"), (6, 18));
        assert_eq!((version("5.4"), version("")), ((5, 4), (0, 0)));
    }

    #[test]
    fn files_of_groups_are_looked_for_below_the_root() {
        let scratch = tempfile::tempdir().expect("a directory");
        let root = scratch.path();
        let look = || in_a_group(root, "memory", &["memory.swap.max"]);
        assert_eq!(look(), None, "no group tells");
        fs::create_dir(root.join("a")).expect("made");
        fs::write(root.join("a/cgroup.controllers"), "pids\n").expect("written");
        assert_eq!(look(), None, "a group without the controller tells nothing");
        fs::write(root.join("a/cgroup.controllers"), "memory pids\n").expect("written");
        assert_eq!(look(), Some(false));
        fs::write(root.join("a/memory.swap.max"), "max\n").expect("written");
        assert_eq!(look(), Some(true));
    }
}
