//! A scratch directory with an image, and one container run in it.
//!
//! Each test has a mount namespace, cgroups and id range of its own; dropping a [`Running`] and the [`Lab`]
//! leaves nothing. Tests of one process take turns: the child of a clone must not inherit a lock that another
//! thread holds.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use agent_runtime::cgroup::Cgroup;
use agent_runtime::container::{ContainerSpec, LogPolicy, Rootfs, SeccompPolicy};
use agent_runtime::defaults::{self, IdRange};
use agent_runtime::process::{CreateError, Spawned, Staging, StartError, create};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{WaitId, WaitIdOptions, waitid};

pub(crate) const BASE: u32 = 1_900_544;

static TURN: Mutex<()> = Mutex::new(());

pub(crate) struct Lab {
    pub dir: tempfile::TempDir,
    pub staging: Staging,
    pub id: String,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(rustix::process::geteuid().is_root(), "this test makes containers and must run as root");
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .expect("private mounts");
        let dir =
            tempfile::Builder::new().prefix("runtime-").tempdir_in("/tmp").expect("a scratch directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it may be entered");
        for name in ["lower/bin", "lower/etc", "lower/tmp", "upper", "work"] {
            fs::create_dir_all(dir.path().join(name)).expect("a directory");
        }
        fs::set_permissions(dir.path().join("lower/tmp"), fs::Permissions::from_mode(0o1777))
            .expect("a mode");
        fs::copy("/bin/busybox", dir.path().join("lower/bin/busybox")).expect("busybox-static is installed");
        for applet in ["sh", "cat", "ls", "id", "sleep", "mount", "stat", "env"] {
            std::os::unix::fs::symlink("busybox", dir.path().join("lower/bin").join(applet)).expect("a link");
        }
        let staging = Staging::open(&dir.path().join("staging")).expect("a staging directory");
        let unique = dir.path().file_name().expect("a name").to_string_lossy().into_owned();
        let id = format!("test-{}", unique.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        Lab { dir, staging, id, _turn: turn }
    }

    pub(crate) fn lower(&self) -> PathBuf {
        self.dir.path().join("lower")
    }

    pub(crate) fn cgroup_path(&self) -> String {
        format!("/{}/container", self.id)
    }

    /// Whether this host's limits are those of version 1.
    pub(crate) fn staging_is_v1(&self) -> bool {
        agent_runtime::cgroup::Layout::detect().expect("cgroups").is_v1()
    }

    pub(crate) fn cgroup(&self) -> Cgroup {
        Cgroup::open(&self.cgroup_path()).expect("a cgroup path")
    }

    /// A default container with a user namespace that runs `args`.
    pub(crate) fn spec(&self, args: &[&str]) -> ContainerSpec {
        self.spec_for(Some(IdRange { base: BASE, size: 65_536 }), args)
    }

    pub(crate) fn spec_for(&self, ids: Option<IdRange>, args: &[&str]) -> ContainerSpec {
        let mut oci = defaults::spec(ids);
        if let Some(process) = oci.process_mut() {
            process.set_args(Some(args.iter().map(|arg| (*arg).to_owned()).collect()));
        }
        if let Some(linux) = oci.linux_mut() {
            linux.set_cgroups_path(Some(self.cgroup_path().into()));
        }
        oci.set_hostname(Some("lab".to_owned()));
        let (upper, work) = (self.dir.path().join("upper"), self.dir.path().join("work"));
        let owner = ids.map_or(0, |ids| ids.base);
        for path in [&upper, &work] {
            chown(path, Some(owner), Some(owner)).expect("an owner");
        }
        ContainerSpec {
            id: self.id.clone(),
            oci,
            rootfs: Rootfs::Overlay { lower: vec![self.lower()], upper, work },
            state_dir: self.dir.path().join("state"),
            terminal: None,
            open_stdin: false,
            log: LogPolicy::default(),
            seccomp: SeccompPolicy::Default,
            init: false,
            throw_away: false,
            traceparent: None,
        }
    }

    pub(crate) fn create(&self, spec: &ContainerSpec) -> Result<Spawned, CreateError> {
        create(spec, None, &self.staging)
    }

    /// Creates, starts and keeps it running.
    pub(crate) fn start(&self, spec: &ContainerSpec) -> Running {
        let spawned = self.create(spec).unwrap_or_else(|error| panic!("create: {error}"));
        Running::start(spawned).unwrap_or_else(|error| panic!("start: {error}"))
    }

    /// Runs a shell script in a default container.
    pub(crate) fn sh(&self, script: &str) -> Ran {
        self.start(&self.spec(&["sh", "-c", script])).wait()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What a failed test leaves in it keeps it: better seen than hidden.
        let _ = Cgroup::open(&format!("/{}", self.id)).expect("a cgroup path").remove();
    }
}

pub(crate) struct Running {
    pub pid: i32,
    pub spawned: Option<Handles>,
}

/// What is left of a [`Spawned`] once its gate is open.
pub(crate) struct Handles {
    pub pidfd: std::os::fd::OwnedFd,
    pub stdin: Option<std::os::fd::OwnedFd>,
    pub stdout: Option<std::os::fd::OwnedFd>,
    pub stderr: Option<std::os::fd::OwnedFd>,
    pub terminal: Option<std::os::fd::OwnedFd>,
    pub cgroup: Cgroup,
    pub namespaces: agent_runtime::plan::Namespaces,
}

/// How a container ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit code, or 128 and the signal.
    pub code: i32,
    pub out: String,
    pub err: String,
    pub oom_killed: bool,
}

impl Running {
    pub(crate) fn start(spawned: Spawned) -> Result<Running, StartError> {
        let Spawned { pid, pidfd, stdin, stdout, stderr, terminal, gate, cgroup, namespaces, .. } = spawned;
        let rest = Handles { pidfd, stdin, stdout, stderr, terminal, cgroup, namespaces };
        let running = Running { pid, spawned: Some(rest) };
        gate.open()?;
        Ok(running)
    }

    pub(crate) fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).unwrap_or_else(|e| panic!("{file}: {e}"))
    }

    pub(crate) fn link(&self, file: &str) -> String {
        fs::read_link(format!("/proc/{}/{file}", self.pid)).expect("a link").display().to_string()
    }

    pub(crate) fn wait(mut self) -> Ran {
        let mut rest = self.spawned.take().expect("it was started");
        drop(rest.stdin.take());
        let mut out = Vec::new();
        let mut err = Vec::new();
        for (end, text) in [(rest.stdout.take(), &mut out), (rest.stderr.take(), &mut err)] {
            if let Some(end) = end {
                fs::File::from(end).read_to_end(text).expect("output");
            }
        }
        let code = reap(&rest.pidfd);
        let oom_killed = rest.cgroup.oom_killed();
        rest.cgroup.kill_all().expect("killed");
        rest.cgroup.remove().expect("removed");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code, out: text(out), err: text(err), oom_killed }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(rest) = self.spawned.take() {
            let _ = rest.cgroup.kill_all();
            reap(&rest.pidfd);
            let _ = rest.cgroup.remove();
        }
    }
}

pub(crate) fn reap(pidfd: impl AsFd) -> i32 {
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).ok().flatten();
    let code = status.and_then(|s| s.exit_status().or(s.terminating_signal().map(|signal| 128 + signal)));
    code.unwrap_or(-1)
}

/// Names below `directory`, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
