//! Trees that lie: at every path where something is mounted, made or written there is something else. A start is
//! refused or harmless: the attestation finds everything where it was asked for, and the host is untouched.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use agent_runtime::attest::{HostView, attest};
use agent_runtime::container::{ContainerSpec, WindowSize};
use oci_spec::runtime::Mount;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::canary::Canary;
use crate::lab::{BASE, Lab, Running};

/// Where the runtime mounts, makes or opens something, and what is on the way there.
const PATHS: [&str; 40] = [
    "proc",
    "sys",
    "dev",
    "dev/pts",
    "dev/shm",
    "dev/mqueue",
    "dev/null",
    "dev/zero",
    "dev/full",
    "dev/random",
    "dev/urandom",
    "dev/tty",
    "dev/ptmx",
    "dev/console",
    "dev/fd",
    "dev/stdin",
    "dev/stdout",
    "dev/core",
    "dev/pts/0",
    "sys/fs",
    "sys/fs/cgroup",
    "sys/firmware",
    "proc/sys",
    "proc/self",
    "etc",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
    "tmp",
    "run",
    "run/secrets",
    "var",
    "var/lib",
    "var/lib/data",
    "data",
    "data/deep",
    "data/deep/er",
    "work",
    "work/here",
];

/// What is there instead.
#[derive(Debug, Clone, Copy)]
enum Lie {
    Absolute,
    Relative,
    Chain,
    Upwards,
    Descriptor,
    Dangling,
    Circle,
    Fifo,
    Socket,
    Device,
    File,
    HardLink,
}

const LIES: [Lie; 12] = [
    Lie::Absolute,
    Lie::Relative,
    Lie::Chain,
    Lie::Upwards,
    Lie::Descriptor,
    Lie::Dangling,
    Lie::Circle,
    Lie::Fifo,
    Lie::Socket,
    Lie::Device,
    Lie::File,
    Lie::HardLink,
];

impl Lie {
    /// Puts it at `path` of the image `root`.
    fn tell(self, root: &Path, path: &Path, canary: &Path) {
        let node = |kind, device| {
            mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), device).expect("a node");
        };
        match self {
            Lie::Absolute => symlink(canary, path).expect("a link"),
            Lie::Relative => {
                symlink(format!("../../../../../../../../..{}", canary.display()), path).expect("a link");
            }
            Lie::Chain => {
                symlink("/chain", path).expect("a link");
                symlink("chained", root.join("chain")).expect("a link");
                symlink(canary, root.join("chained")).expect("a link");
            }
            Lie::Upwards => symlink("..", path).expect("a link"),
            Lie::Descriptor => symlink("/proc/self/fd/3", path).expect("a link"),
            Lie::Dangling => symlink("/nowhere/at/all", path).expect("a link"),
            Lie::Circle => symlink(path.file_name().expect("a name"), path).expect("a link"),
            Lie::Fifo => node(FileType::Fifo, 0),
            Lie::Socket => node(FileType::Socket, 0),
            // The kernel's log: readable by whoever may open it.
            Lie::Device => node(FileType::CharacterDevice, makedev(1, 11)),
            Lie::File => fs::write(path, "a file").expect("a file"),
            Lie::HardLink => fs::hard_link(root.join("bin/busybox"), path).expect("a link"),
        }
    }
}

/// A container with mounts and files of every kind, as a user would ask for.
fn spec(lab: &Lab, source: &Path, script: &str) -> ContainerSpec {
    let mut spec = lab.spec(&["sh", "-c", script]);
    let mounts = spec.oci.mounts_mut().as_mut().expect("mounts");
    for (at, from) in [
        ("/etc/hosts", "hosts"),
        ("/etc/hostname", "hosts"),
        ("/etc/resolv.conf", "hosts"),
        ("/data/deep/er", "folder"),
        ("/var/lib/data", "folder"),
    ] {
        let mut mount = Mount::default();
        mount
            .set_destination(at.into())
            .set_typ(Some("bind".to_owned()))
            .set_source(Some(source.join(from)))
            .set_options(Some(vec!["bind".to_owned(), "ro".to_owned()]));
        mounts.push(mount);
    }
    let mut tmpfs = Mount::default();
    tmpfs.set_destination("/run/secrets".into()).set_typ(Some("tmpfs".to_owned()));
    mounts.push(tmpfs);
    if let Some(process) = spec.oci.process_mut() {
        process.set_cwd("/work/here".into());
    }
    spec
}

#[test]
fn a_tree_that_lies_is_refused_or_harmless() {
    let lab = Lab::new();
    let canary = Canary::new(&lab);
    let source = lab.dir.path().join("source");
    fs::create_dir_all(source.join("folder")).expect("a directory");
    fs::write(source.join("hosts"), "127.0.0.1 localhost\n").expect("a file");
    let own = i32::try_from(std::process::id()).expect("a process id");
    let host = HostView::observe(Some(own)).expect("the host");
    let base: Vec<_> = crate::lab::names(&lab.lower());
    let (mut refused, mut harmless, mut hidden) = (0, 0, Vec::new());
    for (index, path) in PATHS.iter().enumerate() {
        for lie in LIES {
            let what = format!("{lie:?} at {path}");
            let at = lab.lower().join(path);
            fs::create_dir_all(at.parent().expect("a parent")).expect("a directory");
            let kept = at.exists().then(|| lab.dir.path().join("kept"));
            if let Some(kept) = &kept {
                fs::rename(&at, kept).expect("moved aside");
            }
            lie.tell(&lab.lower(), &at, &canary.path);
            // Through whatever is there, the program writes what it can.
            let script =
                format!("(echo evil >/{path}/evil) & (echo evil >/{path}) & busybox usleep 3000; exit 0");
            let mut spec = spec(&lab, &source, &script);
            spec.terminal = (index % 2 == 0).then_some(WindowSize { rows: 24, columns: 80 });
            match lab.create(&spec) {
                Err(_) => refused += 1,
                Ok(spawned) => {
                    let verdict = attest(&spec, spawned.pid, None, &host);
                    // Also one that would not be let run is run here: it must be harmless all the same.
                    if let Ok(running) = Running::start(spawned) {
                        finish(running);
                    }
                    match verdict {
                        Ok(()) => harmless += 1,
                        Err(difference) => hidden.push(format!("{what}: {difference}")),
                    }
                }
            }
            canary.check(&what);
            assert!(!lab.cgroup().exists(), "{what}: a cgroup is left");
            remove(&at);
            if let Some(kept) = kept {
                fs::rename(kept, &at).expect("moved back");
            }
            clean(&lab, &base);
        }
    }
    // Mounts that a link leads above themselves or over another: the image's own doing, and not let run.
    assert!(hidden.len() < 4 && hidden.iter().all(|what| what.starts_with("Upwards at ")), "{hidden:?}");
    assert!(refused > 100 && harmless > 100, "{refused} refused, {harmless} harmless");
}

/// Ends it without waiting for output: a terminal gives none to this test.
fn finish(mut running: Running) {
    let rest = running.spawned.take().expect("it was started");
    crate::lab::reap(rest.pidfd.as_fd());
    rest.cgroup.kill_all().expect("killed");
    rest.cgroup.remove().expect("removed");
}

/// Removes a name and what is below it, following nothing.
fn remove(path: &Path) {
    let is_folder = fs::symlink_metadata(path).expect("a name").is_dir();
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.expect("removed");
}

/// The image without its lies, and empty layers of the container.
fn clean(lab: &Lab, base: &[String]) {
    for name in crate::lab::names(&lab.lower()) {
        let path = lab.lower().join(&name);
        if !base.contains(&name) {
            remove(&path);
        } else if name == "etc" || name == "tmp" {
            for inner in crate::lab::names(&path) {
                remove(&path.join(inner));
            }
        }
    }
    for name in ["upper", "work"] {
        let path = lab.dir.path().join(name);
        fs::remove_dir_all(&path).expect("removed");
        fs::create_dir(&path).expect("a directory");
        std::os::unix::fs::chown(&path, Some(BASE), Some(BASE)).expect("an owner");
    }
}
