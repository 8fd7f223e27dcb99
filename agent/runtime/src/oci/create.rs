//! Making a container, up to the gate.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::runtime::{Hook, Hooks};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::bundle::{self, Loaded};
use super::error::cannot;
use super::init::{self, Start};
use super::namespace::{self, Visit};
use super::record::{GATE, Record, check_id, start_time};
use super::{Console, OciError, Runtime, console, hook};
use crate::cgroup::{Cgroup, Layout, read_text};
use crate::execute::Timings;
use crate::execute::host::Host;
use crate::keeper::time;
use crate::plan::oci::{Bundle, OciPlan, plan};
use crate::process::channel::{self, InitEnd, KeeperEnd};
use crate::process::exec::Executable;
use crate::process::fork::fork;
use crate::process::message::{FromInit, ToInit};

/// What is asked for besides the configuration.
#[derive(Debug)]
pub struct Create<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle's directory.
    pub bundle: &'a Path,
    /// Gets the process id as text.
    pub pid_file: Option<&'a Path>,
    /// Who gets the terminal, if there is one.
    pub console: Console<'a>,
    /// How many descriptors from 3 on the container's process keeps.
    pub preserve: u32,
}

/// A container whose process waits at the gate.
#[derive(Debug)]
pub struct Created {
    /// Its process, as the host sees it.
    pub pid: i32,
    /// A descriptor of it.
    pub pidfd: OwnedFd,
    /// Master side of its terminal, for [`Console::Caller`].
    pub master: Option<OwnedFd>,
}

impl Runtime {
    /// Makes a container. On error nothing of it is left.
    pub fn create(&self, asked: &Create<'_>) -> Result<Created, OciError> {
        check_id(asked.id)?;
        crate::sys::task::close_on_exec_from(3 + asked.preserve)
            .map_err(cannot("prepare the descriptors"))?;
        let loaded = bundle::load(asked.bundle)?;
        check_hooks(loaded.spec.hooks().as_ref())?;
        let terminal =
            loaded.spec.process().as_ref().is_some_and(|process| process.terminal().unwrap_or(false));
        console::check(&asked.console, terminal)?;
        let layout = Arc::new(Layout::detect()?);
        let place = Bundle {
            id: asked.id,
            directory: &loaded.directory,
            root: &loaded.root,
            cgroup_v1: layout.is_v1(),
        };
        let plan = plan(&loaded.spec, &place)?;
        refuse_labels(&loaded)?;
        let directory = self.make_directory(asked.id)?;
        let cgroup = Cgroup::open_in(layout, &plan.cgroup)?;
        let record = Record {
            id: asked.id.to_owned(),
            bundle: loaded.directory,
            rootfs: loaded.root,
            pid: 0,
            started: 0,
            cgroup_made: !cgroup.exists(),
            cgroup: plan.cgroup.clone(),
            created: time::rfc3339(time::now_ns()),
            spec: loaded.spec,
        };
        let mut making = Making { runtime: self, directory, cgroup, record, child: None, done: false };
        making.record.write(&making.directory)?;
        let created = making.run(&plan, asked)?;
        making.done = true;
        Ok(created)
    }

    fn make_directory(&self, id: &str) -> Result<PathBuf, OciError> {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700);
        let directory = self.directory(id);
        builder
            .recursive(true)
            .create(&self.root)
            .map_err(cannot(format!("make {}", self.root.display())))?;
        match builder.recursive(false).create(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(OciError::Exists(id.to_owned()))
            }
            made => made.map_err(cannot(format!("make {}", directory.display()))).map(|()| directory),
        }
    }
}

/// A creation under way. Dropped before it is done, all of it is undone.
struct Making<'a> {
    runtime: &'a Runtime,
    directory: PathBuf,
    cgroup: Cgroup,
    record: Record,
    child: Option<OwnedFd>,
    done: bool,
}

impl Making<'_> {
    fn run(&mut self, plan: &OciPlan, asked: &Create<'_>) -> Result<Created, OciError> {
        let mut timings = Timings::default();
        let cgroup = self.cgroup.clone();
        let mut host = Host::new(&cgroup, &self.directory, plan.slots);
        if let (Some(slot), Some(path)) = (plan.mounts_slot, &plan.namespaces.join_mount) {
            let joined = namespace::open(path).map_err(cannot(format!("open {}", path.display())))?;
            if let Some(place) = host.slots.get_mut(slot) {
                *place = Some(joined);
            }
        }
        let gate = listen(&self.directory).map_err(cannot("make the gate"))?;
        let executable = Executable::new(&plan.program)
            .map_err(|_| OciError::Usage("process.args: a NUL byte in a word".to_owned()))?;
        let (ours, theirs) = channel::pair().map_err(cannot("open a channel"))?;
        let ignored_signals = ignored_signals().map_err(cannot("read /proc/self/status"))?;
        let mut visit = Visit::enter(&plan.namespaces)?;
        host.run(&plan.before, &mut timings)?;
        let start = Start {
            plan,
            executable: &executable,
            state: self.record.hook_state(),
            preserve: asked.preserve,
            ignored_signals,
        };
        let (pid, pidfd) = clone_child(plan, &ours, (host.take(), theirs, gate), &start)?;
        let pidfd = self.child.insert(pidfd).try_clone().map_err(cannot("keep a descriptor"))?;
        visit.leave().map_err(cannot("leave the joined namespaces"))?;
        host.set_child(pid, false).map_err(cannot("find the container's process"))?;
        host.run(&plan.after, &mut timings)?;
        self.record.pid = pid;
        self.record.started = start_time(pid).map_or(0, |(started, _)| started);
        let root = host.root.as_ref().map(AsFd::as_fd);
        ours.send(&ToInit::Prepared, root.as_slice()).map_err(cannot("hand over the root filesystem"))?;
        let master = self.meet(&ours, asked)?;
        host.run(&plan.at_gate, &mut timings)?;
        self.record.write(&self.directory)?;
        if let Some(path) = asked.pid_file {
            write_pid(path, pid).map_err(cannot(format!("write {}", path.display())))?;
        }
        Ok(Created { pid, pidfd, master })
    }

    /// Runs the hooks when the child has everything in place, then waits until it stands at the gate.
    fn meet(&self, channel: &KeeperEnd, asked: &Create<'_>) -> Result<Option<OwnedFd>, OciError> {
        let mut master = None;
        let mut hooks_done = false;
        loop {
            match channel.receive().map_err(cannot("hear from the container's process"))? {
                Some((FromInit::Streams(_), descriptors)) => {
                    master = console::hand_over(&asked.console, descriptors)?;
                }
                Some((FromInit::Ready { .. }, _)) if hooks_done => return Ok(master),
                Some((FromInit::Ready { .. }, _)) => {
                    self.run_hooks()?;
                    hooks_done = true;
                    channel.send(&ToInit::Prepared, &[]).map_err(cannot("go on after the hooks"))?;
                }
                Some((FromInit::Failed { step, object, errno }, _)) => {
                    return Err(failed(step, object, errno));
                }
                Some((FromInit::NotExecuted { found: false, .. }, _)) => return Err(self.not_found()),
                Some((FromInit::NotExecuted { errno, .. }, _)) => {
                    let source = io::Error::from_raw_os_error(errno);
                    return Err(OciError::NotExecutable { program: self.program(), source });
                }
                None => {
                    let source = io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without a word");
                    return Err(OciError::Io { action: "make the container's process".to_owned(), source });
                }
            }
        }
    }

    fn run_hooks(&self) -> Result<(), OciError> {
        let Some(hooks) = self.record.spec.hooks() else { return Ok(()) };
        let state = self.record.hook_state().in_runtime("creating", self.record.pid);
        for hooks in [hooks.prestart(), hooks.create_runtime()] {
            hook::run_all(hooks.as_deref().unwrap_or_default(), &state)?;
        }
        Ok(())
    }

    fn program(&self) -> String {
        let args = self.record.spec.process().as_ref().and_then(|process| process.args().clone());
        args.and_then(|args| args.into_iter().next()).unwrap_or_default()
    }

    fn not_found(&self) -> OciError {
        OciError::NotFound(self.program())
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if let Some(child) = self.child.take() {
            let _ = rustix::process::pidfd_send_signal(&child, Signal::KILL);
            let _ = rustix::process::waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED);
        }
        // The error to report is the one that led here.
        let _ = self.runtime.destroy(&self.record);
    }
}

/// The clone, and what the child starts with.
fn clone_child(
    plan: &OciPlan,
    ours: &KeeperEnd,
    (host, channel, gate): (Host<'_>, InitEnd, OwnedFd),
    start: &Start<'_>,
) -> Result<(i32, OwnedFd), OciError> {
    let action = "make the container's process";
    let Some(path) = &plan.namespaces.join_user else {
        return fork(plan.namespaces.new, None, || init::live(start, host, channel, &gate))
            .map_err(cannot(action));
    };
    // A user namespace is entered by a process on its way, whose child then is a sibling: it is this process's
    // own child, and its other namespaces belong to that user namespace.
    let user = namespace::open(path).map_err(cannot(format!("open {}", path.display())))?;
    let (_, helper) = fork(0, None, || {
        let clone_user = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
        if crate::sys::task::set_namespace(user.as_fd(), clone_user).is_err() {
            return;
        }
        let sibling = u64::from(libc::CLONE_PARENT.unsigned_abs());
        let sent = InitEnd::try_clone(&channel);
        let forked = fork(plan.namespaces.new | sibling, None, || init::live(start, host, channel, &gate));
        if let (Ok((pid, _)), Ok(sent)) = (forked, sent) {
            let object = pid.to_string();
            let _ = sent.send(&FromInit::Failed { step: String::new(), object, errno: 0 }, &[]);
        }
    })
    .map_err(cannot(action))?;
    let _ = rustix::process::waitid(WaitId::PidFd(helper.as_fd()), WaitIdOptions::EXITED);
    let refused = || OciError::Io {
        action: format!("join the user namespace {}", path.display()),
        source: io::Error::from_raw_os_error(libc::EPERM),
    };
    let Some((FromInit::Failed { object, .. }, _)) = ours.receive().map_err(cannot(action))? else {
        return Err(refused());
    };
    let pid: i32 = object.parse().map_err(|_| refused())?;
    let id = rustix::process::Pid::from_raw(pid).ok_or_else(refused)?;
    let pidfd =
        rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty()).map_err(cannot(action))?;
    Ok((pid, pidfd))
}

/// A failed step of the child.
pub(super) fn failed(step: String, object: String, errno: i32) -> OciError {
    let source = match errno {
        0 => io::Error::other("it is not as it must be"),
        errno => io::Error::from_raw_os_error(errno),
    };
    OciError::Step { step, object, source }
}

fn check_hooks(hooks: Option<&Hooks>) -> Result<(), OciError> {
    let Some(hooks) = hooks else { return Ok(()) };
    let kinds: [&Option<Vec<Hook>>; 6] = [
        hooks.prestart(),
        hooks.create_runtime(),
        hooks.create_container(),
        hooks.start_container(),
        hooks.poststart(),
        hooks.poststop(),
    ];
    kinds.iter().try_for_each(|kind| hook::check(kind.as_deref().unwrap_or_default()))?;
    Ok(())
}

/// A label the kernel does not know would leave the program without the confinement asked for.
fn refuse_labels(loaded: &Loaded) -> Result<(), OciError> {
    let Some(process) = loaded.spec.process() else { return Ok(()) };
    let asked = |label: &Option<String>| label.as_ref().is_some_and(|label| !label.is_empty());
    let missing = |field: &str, module: &str| {
        Err(OciError::Usage(format!("config.json: process.{field}: this kernel runs without {module}")))
    };
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if asked(process.apparmor_profile()) && enabled.trim() != "Y" {
        return missing("apparmorProfile", "AppArmor");
    }
    if asked(process.selinux_label()) && !Path::new("/sys/fs/selinux/enforce").exists() {
        return missing("selinuxLabel", "SELinux");
    }
    Ok(())
}

/// By a short name: the path of a socket has at most 107 bytes, that of a state directory may have more.
fn listen(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::bind(&socket, &gate_address(&directory)?)?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket)
}

/// The gate's address while `directory` is open.
pub(super) fn gate_address(directory: &OwnedFd) -> io::Result<SocketAddrUnix> {
    use std::os::fd::AsRawFd;
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{GATE}", directory.as_raw_fd()))?)
}

pub(super) fn ignored_signals() -> io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let status = rustix::fs::open("/proc/self/status", flags, Mode::empty())?;
    Ok(crate::sys::signal::ignored(&read_text(&status)?))
}

/// Whole or not at all: whoever waits for the file reads it as soon as it is there.
pub(super) fn write_pid(path: &Path, pid: i32) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, pid.to_string())?;
    std::fs::rename(&new, path)
}
