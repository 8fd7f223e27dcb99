//! The mount table against what was asked for. Pure.

use super::expected::{Asked, Expected};
use super::mounts::Mount;
use super::observed::{Found, Observed};
use super::{HostView, Mismatch};

pub(super) fn compare(expected: &Expected, observed: &Observed, host: &HostView, found: &mut Vec<Mismatch>) {
    root(expected, observed, host, found);
    let mut explained = Vec::new();
    for asked in &expected.mounts {
        match at(&asked.at, observed) {
            Some(mount) => {
                explained.push((mount.point.clone(), asked.tree));
                asked_mount(asked, mount, found);
            }
            None => found.push(Mismatch::new(format!("mount {}", asked.at), "a mount", "none")),
        }
    }
    for path in &expected.masked {
        masked(path, observed, found);
    }
    for path in &expected.read_only {
        read_only(path, observed, found);
    }
    let sealed = expected.masked.iter().chain(&expected.read_only);
    for path in sealed {
        explained.push((at(path, observed).map_or_else(|| path.clone(), |mount| mount.point.clone()), true));
    }
    for mount in &observed.mounts.0 {
        propagation(expected, mount, found);
        let explains = |(point, tree): &(String, bool)| {
            mount.point == *point || (*tree && is_below(&mount.point, point))
        };
        if mount.point != "/" && !explained.iter().any(explains) {
            let is = format!("{} {} of {}", mount.fstype, mount.root, mount.device);
            found.push(Mismatch::new(format!("mount {}", mount.point), "none", is));
        }
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The mount whose root `path` is, directly or through links.
fn at<'a>(path: &str, observed: &'a Observed) -> Option<&'a Mount> {
    if let Some(mount) = observed.mounts.visible(path).filter(|mount| mount.point == path) {
        return Some(mount);
    }
    match observed.found.get(path) {
        Some(Found::On { mount, mount_root: true, .. }) => observed.mounts.by_id(*mount),
        _ => None,
    }
}

/// That the process's root and working directory are the container's.
pub(super) fn root(expected: &Expected, observed: &Observed, host: &HostView, found: &mut Vec<Mismatch>) {
    let Some(mount) = observed.mounts.visible("/") else {
        found.push(Mismatch::new("mount /", "the container's root filesystem", "none"));
        return;
    };
    if mount.id != observed.root_mount {
        found.push(Mismatch::new("root", format!("mount {}", mount.id), observed.root_mount));
    }
    if observed.mounts.by_id(observed.cwd_mount).is_none() {
        found.push(Mismatch::new("cwd", "a mount of the container", observed.cwd_mount));
    }
    if host.root == (mount.device.clone(), mount.root.clone()) {
        found.push(Mismatch::new("mount /", "the container's root filesystem", "the host's"));
    }
    if expected.root.overlay && mount.fstype != "overlay" {
        found.push(Mismatch::new("mount /", "overlay", &mount.fstype));
    }
    for (asked, flag) in [(expected.root.read_only, "ro"), (expected.root.nodev, "nodev")] {
        if asked && !mount.has(flag) {
            found.push(Mismatch::new("mount /", flag, mount.options.join(",")));
        }
    }
}

fn asked_mount(asked: &Asked, mount: &Mount, found: &mut Vec<Mismatch>) {
    let name = || format!("mount {}", asked.at);
    if !asked.fstypes.is_empty() && !asked.fstypes.contains(&mount.fstype.as_str()) {
        found.push(Mismatch::new(name(), asked.fstypes.join(" or "), &mount.fstype));
    }
    for flag in &asked.flags {
        if !mount.has(flag) {
            found.push(Mismatch::new(name(), flag, mount.options.join(",")));
        }
    }
}

fn masked(path: &str, observed: &Observed, found: &mut Vec<Mismatch>) {
    let name = || format!("masked {path}");
    let mask = |mount: Option<&Mount>, null: bool| null || mount.is_some_and(Mount::is_empty_folder);
    match observed.found.get(path) {
        Some(Found::Absent) => {}
        Some(Found::On { mount, null, mount_root }) => {
            let mount = observed.mounts.by_id(*mount);
            if !mount_root || !mask(mount, *null) {
                let is = mount.map_or("a file", |mount| mount.fstype.as_str());
                found.push(Mismatch::new(name(), "the null device or an empty directory", is));
            }
        }
        // Not looked up: then a plain mask is on it.
        None if observed.mounts.visible(path).is_some_and(|m| m.point == path && m.is_plain_mask()) => {}
        None => found.push(Mismatch::new(name(), "the null device or an empty directory", "a file")),
    }
}

fn read_only(path: &str, observed: &Observed, found: &mut Vec<Mismatch>) {
    let mount = match observed.found.get(path) {
        Some(Found::Absent) => return,
        Some(Found::On { mount, .. }) => observed.mounts.by_id(*mount),
        None => observed.mounts.visible(path),
    };
    if !mount.is_some_and(|mount| mount.has("ro")) {
        let is = mount.map_or_else(String::new, |mount| mount.options.join(","));
        found.push(Mismatch::new(format!("read-only {path}"), "ro", is));
    }
}

fn propagation(expected: &Expected, mount: &Mount, found: &mut Vec<Mismatch>) {
    for (allowed, tag) in [(expected.shared, "shared:"), (expected.slave || expected.shared, "master:")] {
        if !allowed && mount.propagation.iter().any(|word| word.starts_with(tag)) {
            let name = format!("mount {}", mount.point);
            found.push(Mismatch::new(name, "private", mount.propagation.join(" ")));
        }
    }
}

impl Mount {
    /// An empty directory that stays so.
    fn is_empty_folder(&self) -> bool {
        self.fstype == "tmpfs" && self.root == "/" && self.has("ro")
    }

    /// What a mount table alone shows to be a mask; a null device from elsewhere needs a look at its number.
    pub(super) fn is_plain_mask(&self) -> bool {
        self.is_empty_folder() || (self.fstype == "devtmpfs" && self.root == "/null")
    }
}
