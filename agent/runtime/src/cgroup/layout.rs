//! Which cgroup hierarchies the host has.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};

use super::CgroupError;

/// One hierarchy, mounted somewhere.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    mount: Mount,
    root: OwnedFd,
}

/// What `mountinfo` says of a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    point: String,
    /// Controllers of a version 1 hierarchy, and `name=...`; empty for version 2.
    controllers: Vec<String>,
    v2: bool,
}

impl Hierarchy {
    /// Where it is mounted.
    pub(crate) fn mount_point(&self) -> &str {
        &self.mount.point
    }

    /// The last part of its mount point: `memory`, `cpu,cpuacct`, `systemd`, `unified`.
    pub(crate) fn name(&self) -> &str {
        self.mount.point.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn is_v2(&self) -> bool {
        self.mount.v2
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    pub(crate) fn has(&self, controller: &str) -> bool {
        self.mount.controllers.iter().any(|known| known == controller)
    }
}

/// All hierarchies of the host.
#[derive(Debug)]
pub struct Layout {
    hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Looks at this process's mounts. The descriptors it keeps belong to the present mount namespace.
    pub fn detect() -> Result<Layout, CgroupError> {
        let failed = |object: &str, source: io::Error| CgroupError::Io {
            action: "look for",
            object: object.to_owned(),
            source,
        };
        let path = "/proc/self/mountinfo";
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|source| failed(path, source.into()))?;
        let text = super::files::read_all(&file).map_err(|source| failed(path, source))?;
        let mut hierarchies = Vec::new();
        for mount in parse(&text) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::openat(CWD, mount.point.as_str(), flags, Mode::empty())
                .map_err(|source| failed(&mount.point, source.into()))?;
            hierarchies.push(Hierarchy { mount, root });
        }
        if hierarchies.is_empty() {
            return Err(CgroupError::None);
        }
        Ok(Layout { hierarchies })
    }

    /// The same host as if it had version 2 only.
    #[cfg(test)]
    pub(crate) fn without_v1(mut self) -> Layout {
        self.hierarchies.retain(Hierarchy::is_v2);
        self
    }

    pub(crate) fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// The version 2 hierarchy.
    pub(crate) fn v2(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.mount.v2)
    }

    /// The version 1 hierarchy of `controller`.
    pub(crate) fn of_v1(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.has(controller))
    }

    /// The hierarchy `controller` is in: a version 1 one, else version 2.
    pub(crate) fn of(&self, controller: &str) -> Option<&Hierarchy> {
        self.of_v1(controller).or(self.v2())
    }

    /// Whether limits are written to version 1 hierarchies.
    pub fn is_v1(&self) -> bool {
        self.of_v1("memory").is_some() || self.of_v1("pids").is_some() || self.v2().is_none()
    }

    /// What people call it: "v1", "v2" or "hybrid".
    pub fn version(&self) -> &'static str {
        match (self.is_v1(), self.v2()) {
            (true, Some(_)) => "hybrid",
            (true, None) => "v1",
            (false, _) => "v2",
        }
    }

    /// Where each hierarchy is mounted, with the controllers it has; `name=...` of version 1 is one of them.
    pub fn mounted(&self) -> Vec<(String, Vec<String>)> {
        let controllers = |hierarchy: &Hierarchy| match hierarchy.is_v2() {
            true => {
                let text = super::files::read(hierarchy, "cgroup.controllers").unwrap_or_default();
                text.split_whitespace().map(str::to_owned).collect()
            }
            false => hierarchy.mount.controllers.clone(),
        };
        self.hierarchies.iter().map(|one| (one.mount.point.clone(), controllers(one))).collect()
    }

    /// Whether containers can be limited by `controller` here.
    pub fn provides(&self, controller: &str) -> bool {
        let of_v2 = |hierarchy| super::files::read(hierarchy, "cgroup.controllers").unwrap_or_default();
        self.of_v1(controller).is_some()
            || self
                .v2()
                .map(of_v2)
                .is_some_and(|names| names.split_whitespace().any(|name| name == controller))
    }
}

/// The hierarchies in `mountinfo`, each once, in the order they were mounted.
fn parse(mountinfo: &str) -> Vec<Mount> {
    let mut seen = BTreeSet::new();
    let mut mounts = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (Some(device), Some(point)) = (left.get(2), left.get(4)) else { continue };
        let v2 = match right.first() {
            Some(&"cgroup") => false,
            Some(&"cgroup2") => true,
            _ => continue,
        };
        // Octal escapes stand for blanks; nobody mounts cgroups there, and such a path could not be opened.
        if point.contains('\\') || !seen.insert((*device).to_owned()) {
            continue;
        }
        let ignored = ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"];
        let options = right.get(2).copied().unwrap_or_default().split(',');
        let controllers = match v2 {
            true => Vec::new(),
            false => options.filter(|option| !ignored.contains(option)).map(str::to_owned).collect(),
        };
        mounts.push(Mount { point: (*point).to_owned(), controllers, v2 });
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_has_its_controllers_once() {
        let mounts = parse(
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n\
             99 31 0:38 / /mnt/again rw,relatime - cgroup2 cgroup2 rw\n",
        );
        let names: Vec<_> = mounts.iter().map(|m| (m.point.as_str(), m.controllers.len(), m.v2)).collect();
        assert_eq!(
            names,
            [
                ("/sys/fs/cgroup/cpu,cpuacct", 2, false),
                ("/sys/fs/cgroup/systemd", 1, false),
                ("/sys/fs/cgroup/unified", 0, true)
            ]
        );
    }

    #[test]
    fn a_host_is_called_after_where_its_limits_are() {
        let layout = Layout::detect().expect("cgroups");
        assert!(layout.provides("memory") && layout.provides("pids") && !layout.provides("nothing"));
        let (has_v1, has_v2) = (layout.of_v1("memory").is_some(), layout.v2().is_some());
        assert_eq!(layout.version() == "hybrid", has_v1 && has_v2);
        if has_v2 {
            assert_eq!(layout.without_v1().version(), "v2");
        }
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        assert_eq!(parse("\n - cgroup\nx - cgroup2 y\n1 2 3 4 5 - \n"), []);
    }
}
