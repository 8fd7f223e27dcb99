//! The options of `run`, each seen from outside: in the kernel's files on the host where there are any, else by
//! what the container's program finds.

mod cdi;
mod confinement;
mod program;
mod resources;
mod sharing;
mod streams;

use std::path::{Path, PathBuf};

use itest::host::Host;
use itest::image;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;

use crate::scratch;

/// An agent with an image of busybox.
struct Bench<'h> {
    solo: Solo<'h>,
    image: String,
}

/// Runs a test on a host of its own.
fn on_a_host(name: &str, test: impl FnOnce(&Bench<'_>)) {
    let (host, dir) = (Host::new(name), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let bench = Bench { solo: Solo::start(&host, dir.path()), image: format!("{ADDRESS}/busybox:1") };
    test(&bench);
}

impl Bench<'_> {
    /// What a script prints in a container with these options.
    #[track_caller]
    fn sh(&self, options: &[&str], script: &str) -> String {
        self.solo.ctl(&[&["container", "run", "--rm"], options, &[&self.image, "sh", "-c", script]].concat())
    }

    /// Starts a container that waits; answers its id.
    #[track_caller]
    fn start(&self, options: &[&str]) -> String {
        let line = [&["container", "run", "-d"], options, &[&self.image, "sleep", "1000"]].concat();
        self.solo.ctl(&line).trim().to_owned()
    }

    /// What is said about a container that must not be made.
    #[track_caller]
    fn refused(&self, options: &[&str]) -> String {
        let line = [&["container", "run", "--rm"], options, &[&self.image, "true"]].concat();
        let (code, said) = self.solo.refused(&line);
        assert!(matches!(code, 2 | 125), "{options:?}: exit code {code}: {said}");
        said
    }

    /// Its first process, as the host sees it.
    #[track_caller]
    fn pid(&self, id: &str) -> u64 {
        let all = self.solo.json(&["container", "ls"]);
        let found = all.as_array().and_then(|all| all.iter().find(|one| one["id"] == id).cloned());
        found.and_then(|one| one["pid"].as_u64()).unwrap_or_else(|| panic!("{id} does not run: {all}"))
    }

    /// A file of its first process.
    #[track_caller]
    fn proc(&self, id: &str, file: &str) -> String {
        read(Path::new(&format!("/proc/{}/{file}", self.pid(id))))
    }

    /// A line of its status, without the name.
    #[track_caller]
    fn status(&self, id: &str, name: &str) -> String {
        let status = self.proc(id, "status");
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    }

    /// A file of a version 1 controller, else of version 2, found by the process's own account of where it is.
    #[track_caller]
    fn cgroup(&self, id: &str, controller: &str, v1: &str, v2: &str) -> String {
        let (directory, is_v1) = cgroup_of(&self.proc(id, "cgroup"), controller);
        read(&directory.join(if is_v1 { v1 } else { v2 })).trim().to_owned()
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The directory of a controller, and whether that is one of version 1.
fn cgroup_of(cgroup: &str, controller: &str) -> (PathBuf, bool) {
    let mounts = read(Path::new("/proc/self/mountinfo"));
    let mounted = |wanted: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let right: Vec<&str> = right.split(' ').collect();
            wanted(right.first()?, right.get(2)?).then(|| left.split(' ').nth(4).map(PathBuf::from))?
        })
    };
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) =
            (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if !names.is_empty() && names.split(',').any(|name| name == controller) {
            let has =
                |kind: &str, options: &str| kind == "cgroup" && options.split(',').any(|o| o == controller);
            let root = mounted(&has).unwrap_or_else(|| panic!("{controller} is not mounted"));
            return (root.join(path.trim_start_matches('/')), true);
        }
    }
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let root = mounted(&|kind, _| kind == "cgroup2").expect("a cgroup2");
    (root.join(path.trim_start_matches('/')), false)
}
