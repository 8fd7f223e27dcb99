//! What the kernel says of a process, parsed. Pure: text in, values out.

use std::collections::{BTreeMap, BTreeSet};

use super::mounts::Mounts;

/// A process at the gate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Observed {
    pub status: Status,
    pub uid_map: Vec<[u32; 3]>,
    pub gid_map: Vec<[u32; 3]>,
    /// Inode by kind.
    pub namespaces: BTreeMap<&'static str, u64>,
    /// Hierarchy (its controllers, empty for version 2) and path.
    pub cgroups: Vec<(String, String)>,
    pub mounts: Mounts,
    /// Mount its root directory is on, and its working directory.
    pub root_mount: u64,
    pub cwd_mount: u64,
    /// Open descriptors; `None` where the kernel does not count them (before Linux 6.2).
    pub descriptors: Option<u64>,
    /// Soft and hard limit by the kernel's name; `None` is unlimited.
    pub limits: BTreeMap<String, [Option<u64>; 2]>,
    pub oom_score: Option<i32>,
    /// Files of its cgroup by controller and name, as far as asked for.
    pub resources: BTreeMap<(&'static str, &'static str), String>,
    /// What paths lead to that no mount is directly on.
    pub found: BTreeMap<String, Found>,
}

/// What a path of the container leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// Something on this mount.
    On {
        mount: u64,
        /// It is the null device.
        null: bool,
        /// It is the root of that mount.
        mount_root: bool,
    },
}

/// `/proc/PID/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub parent: i32,
    /// Real, effective, saved and filesystem id.
    pub uids: Vec<u32>,
    pub gids: Vec<u32>,
    pub groups: BTreeSet<u32>,
    /// Inheritable, permitted, effective, bounding, ambient.
    pub capabilities: [u64; 5],
    pub no_new_privs: u32,
    /// 0 none, 1 strict, 2 a filter.
    pub seccomp: u32,
    /// Anything of the above that was not there.
    pub missing: Vec<&'static str>,
}

/// The five sets, as the kernel names them.
pub(super) const CAPABILITY_SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

impl Status {
    pub(super) fn parse(text: &str) -> Status {
        let lines: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key, value.trim()))
            .collect();
        let mut status = Status::default();
        let mut missing = Vec::new();
        let mut line = |key: &'static str| {
            let value = lines.get(key).copied();
            if value.is_none() {
                missing.push(key);
            }
            value.unwrap_or_default()
        };
        status.parent = line("PPid").parse().unwrap_or_default();
        status.uids = numbers(line("Uid"));
        status.gids = numbers(line("Gid"));
        status.groups = numbers(line("Groups")).into_iter().collect();
        for (set, key) in status.capabilities.iter_mut().zip(CAPABILITY_SETS) {
            // What cannot be read must not look like nothing.
            *set = u64::from_str_radix(line(key), 16).unwrap_or(u64::MAX);
        }
        status.no_new_privs = line("NoNewPrivs").parse().unwrap_or_default();
        status.seccomp = line("Seccomp").parse().unwrap_or_default();
        status.missing = missing;
        status
    }
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// `uid_map` or `gid_map`.
pub(super) fn id_map(text: &str) -> Vec<[u32; 3]> {
    text.lines().filter_map(|line| numbers(line).try_into().ok()).collect()
}

/// `/proc/PID/cgroup`.
pub(super) fn cgroups(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// `/proc/PID/limits`, whose names have blanks in them: they end before two.
pub(super) fn limits(text: &str) -> BTreeMap<String, [Option<u64>; 2]> {
    let line = |line: &str| {
        let (name, values) = line.split_once("  ")?;
        let mut values = values.split_whitespace();
        let mut value = || {
            let word = values.next()?;
            if word == "unlimited" { Some(None) } else { word.parse().ok().map(Some) }
        };
        Some((name.to_owned(), [value()?, value()?]))
    };
    text.lines().skip(1).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_lacks_a_line_says_so_and_has_every_capability() {
        let status = Status::parse("PPid:\t7\nUid:\t1\t2\t3\t4\nCapBnd:\t00000000a80425fb\n");
        assert_eq!((status.parent, status.uids.as_slice()), (7, [1, 2, 3, 4].as_slice()));
        assert_eq!(status.capabilities[3], 0xa804_25fb);
        assert_eq!(status.capabilities[0], u64::MAX);
        assert!(status.missing.contains(&"Seccomp") && !status.missing.contains(&"Uid"));
    }

    #[test]
    fn limits_have_names_of_several_words() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n";
        let limits = limits(text);
        assert_eq!(limits["Max open files"], [Some(1024), Some(524_288)]);
        assert_eq!(limits["Max cpu time"], [None, None]);
    }

    #[test]
    fn cgroup_paths_may_hold_colons() {
        assert_eq!(
            cgroups("5:devices:/a:b\n0::/c\n"),
            [("devices".to_owned(), "/a:b".to_owned()), (String::new(), "/c".to_owned())]
        );
    }
}
