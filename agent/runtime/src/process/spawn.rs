//! The keeper's side of a creation: run the plan around one clone, and undo all of it when anything fails.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::channel::{self, KeeperEnd};
use super::clone::{Cloned, clone3};
use super::exec::Executable;
use super::init::{self, Start};
use super::join;
use super::message::{FromInit, Streams, ToInit};
use super::{CreateError, Gate, Spawned, Staging};
use crate::capabilities::CapSet;
use crate::cgroup::Cgroup;
use crate::container::ContainerSpec;
use crate::execute::host::{Host, Visit};
use crate::execute::{StepError, Timings};
use crate::plan::{Filter, HostFacts, Namespaces, Network, plan};
use crate::seccomp::Instruction;

pub(super) fn create(
    spec: &ContainerSpec,
    netns: Option<BorrowedFd<'_>>,
    mounts: Vec<OwnedFd>,
    staging: &Staging,
) -> Result<Spawned, CreateError> {
    let mut timings = Timings::default();
    let since = Instant::now();
    let facts = HostFacts { network_given: netns.is_some(), cgroup_v1: staging.layout.is_v1() };
    let plan = plan(spec, facts)?;
    let executable = Executable::new(&plan.program)
        .map_err(|_| CreateError::Invalid("process: a NUL byte in an argument or variable".to_owned()))?;
    let filter = filter(&plan.filter, plan.capabilities, staging)?;
    timings.add("plan", since);

    let cgroup = Cgroup::open_in(staging.layout.clone(), &plan.cgroup)?;
    let mut undo = Undo { cgroup: Some(cgroup.clone()), child: None };
    let mut host = Host::new(&cgroup, &staging.layers, plan.slots);
    host.given = mounts.into_iter().map(Some).collect();
    let (keeper_end, init_end) = channel::pair().map_err(|error| failed("open-channel", &spec.id, error))?;

    let visit = visit(netns, staging)?;
    host.run(&plan.before, &mut timings)?;
    let since = Instant::now();
    let pids = visit_pids(&plan.namespaces, staging)?;
    let (cloned, in_v2_cgroup) = clone_child(&plan.namespaces, &cgroup)
        .map_err(|error| failed("clone", plan.namespaces.to_string(), error))?;
    let Cloned::Parent { pid, pidfd } = cloned else {
        drop(keeper_end);
        // Only the parent goes back; this process is where it belongs.
        std::mem::forget(pids);
        init::run(Start {
            plan: &plan,
            host,
            ignored_signals: staging.ignored_signals,
            filter,
            executable: &executable,
            channel: init_end,
        })
    };
    drop(init_end);
    if let Some(pids) = pids {
        pids.leave().map_err(|error| failed("leave-process-ids", "another container", error))?;
    }
    let pidfd = undo.child.insert(pidfd);
    let pidfd = pidfd.try_clone().map_err(|error| failed("clone", &spec.id, error))?;
    if let Some(visit) = visit {
        visit.leave().map_err(|error| failed("leave-network", NETNS, error))?;
    }
    timings.add("clone", since);

    let child = host.set_child(pid, in_v2_cgroup);
    child.map_err(|error| failed("find-child", format!("/proc/{pid}"), error))?;
    host.run(&plan.after, &mut timings)?;
    let ends = meet(&keeper_end, &host, &spec.id, &mut timings)?;
    host.run(&plan.at_gate, &mut timings)?;

    undo.disarm();
    let program = plan.program.args.first().cloned().unwrap_or_default();
    let Ends { stdin, stdout, stderr, terminal } = ends;
    let gate = Gate { channel: keeper_end, program };
    let (namespaces, timings) = (plan.namespaces, timings.into_inner());
    Ok(Spawned { pid, pidfd, stdin, stdout, stderr, terminal, gate, cgroup, namespaces, timings })
}

/// The system call filter of a process with this bounding set.
pub(super) fn filter(
    wanted: &Filter,
    capabilities: CapSet,
    staging: &Staging,
) -> Result<Option<Rc<[Instruction]>>, CreateError> {
    Ok(match wanted {
        Filter::Default => Some(staging.filters.get(capabilities)?),
        Filter::Own(program) => Some(program.as_slice().into()),
        Filter::None => None,
    })
}

/// What errors call it: there is no better name for a descriptor.
const NETNS: &str = "the network namespace handed over";

/// What the child is to inherit is opened in its network namespace, where the clone happens too.
fn visit<'a>(netns: Option<BorrowedFd<'_>>, staging: &'a Staging) -> Result<Option<Visit<'a>>, CreateError> {
    let Some(netns) = netns else { return Ok(None) };
    let visit = Visit::enter(netns, staging.home.as_fd());
    visit.map(Some).map_err(|error| failed("enter-network", NETNS, error))
}

/// Children are born among the processes of another container until this is left.
fn visit_pids<'a>(
    namespaces: &Namespaces,
    staging: &'a Staging,
) -> Result<Option<join::Visit<'a>>, CreateError> {
    let Some(path) = &namespaces.joined.pid else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let visit = rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|opened| join::Visit::enter_namespace(opened.as_fd(), staging.home_pids.as_fd()));
    visit.map(Some).map_err(|error| failed("enter-process-ids", path.display().to_string(), error))
}

/// Gives the child its root filesystem and waits until it stands at the gate.
fn meet(channel: &KeeperEnd, host: &Host<'_>, id: &str, timings: &mut Timings) -> Result<Ends, CreateError> {
    let root = host.root.as_ref().map(AsFd::as_fd);
    channel
        .send(&ToInit::Prepared, root.as_slice())
        .map_err(|error| failed("hand-over", "the root filesystem", error))?;
    let since = Instant::now();
    let (ends, inner) = wait_until_ready(channel, id)?;
    timings.add("wait-for-child", since);
    timings.extend(inner);
    Ok(ends)
}

/// Clones into the cgroup where the kernel can (version 2 since Linux 5.7), else beside it.
fn clone_child(namespaces: &Namespaces, cgroup: &Cgroup) -> io::Result<(Cloned, bool)> {
    clone_into(clone_flags(namespaces), cgroup)
}

/// As [`clone_child`], with these flags.
pub(super) fn clone_into(flags: u64, cgroup: &Cgroup) -> io::Result<(Cloned, bool)> {
    if let Some(cgroup) = cgroup.v2_directory().transpose()? {
        // SAFETY: the keeper has one thread (see the crate's contract), and the child only runs
        // `init::run` or `join::run`, which never return.
        match unsafe { clone3(flags, Some(cgroup.as_fd())) } {
            Err(error) if matches!(error.raw_os_error(), Some(libc::E2BIG | libc::EINVAL)) => {}
            cloned => return Ok((cloned?, true)),
        }
    }
    // SAFETY: as above.
    Ok((unsafe { clone3(flags, None) }?, false))
}

fn clone_flags(namespaces: &Namespaces) -> u64 {
    let joined = &namespaces.joined;
    // Who joins users makes what belongs to them afterwards.
    let at_once = joined.user.is_none();
    let wanted = [
        (at_once, libc::CLONE_NEWNS),
        (at_once && namespaces.user.is_some(), libc::CLONE_NEWUSER),
        (namespaces.pid && joined.pid.is_none(), libc::CLONE_NEWPID),
        (at_once && namespaces.ipc && joined.ipc.is_none(), libc::CLONE_NEWIPC),
        (at_once && namespaces.uts, libc::CLONE_NEWUTS),
        (at_once && namespaces.network == Network::New, libc::CLONE_NEWNET),
    ];
    wanted.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| u64::from(flag.unsigned_abs())).sum()
}

/// The keeper's ends of a child's standard streams.
#[derive(Debug, Default)]
pub struct Ends {
    /// Write end of its standard input, if that is a pipe.
    pub stdin: Option<OwnedFd>,
    /// Read end of its standard output; `None` with a terminal.
    pub stdout: Option<OwnedFd>,
    /// Read end of its standard error; `None` with a terminal.
    pub stderr: Option<OwnedFd>,
    /// Master side of its terminal.
    pub terminal: Option<OwnedFd>,
}

impl Ends {
    /// Sorts what came with [`FromInit::Streams`].
    pub(super) fn of(streams: Streams, descriptors: Vec<OwnedFd>) -> Ends {
        let mut descriptors = descriptors.into_iter();
        match streams {
            Streams::Terminal => Ends { terminal: descriptors.next(), ..Ends::default() },
            Streams::Pipes { stdin } => Ends {
                stdin: if stdin { descriptors.next() } else { None },
                stdout: descriptors.next(),
                stderr: descriptors.next(),
                terminal: None,
            },
        }
    }
}

fn wait_until_ready(channel: &KeeperEnd, id: &str) -> Result<(Ends, Vec<(String, u64)>), CreateError> {
    let mut ends = Ends::default();
    loop {
        let message = channel.receive().map_err(|error| failed("wait-for-child", id, error))?;
        match message {
            Some((FromInit::Streams(streams), descriptors)) => ends = Ends::of(streams, descriptors),
            Some((FromInit::Ready { timings }, _)) => return Ok((ends, timings)),
            Some((FromInit::Failed { step, object, errno }, _)) => {
                return Err(step_failed(&step, object, errno));
            }
            Some((FromInit::NotExecuted { .. }, _)) | None => return Err(silent(id)),
        }
    }
}

/// A step that the child says it could not do.
pub(super) fn step_failed(step: &str, object: String, errno: i32) -> CreateError {
    let source = match errno {
        0 => io::Error::other("it is not as it must be"),
        errno => io::Error::from_raw_os_error(errno),
    };
    failed(step, object, source)
}

/// A child that died before it could say why.
pub(super) fn silent(id: &str) -> CreateError {
    let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the child ended without a word");
    failed("wait-for-child", id, source)
}

pub(super) fn failed(step: &str, object: impl Into<String>, source: io::Error) -> CreateError {
    StepError { step: step.to_owned(), object: object.into(), source }.into()
}

/// What is undone when a creation fails: in this order, because a cgroup with a process in it stays.
struct Undo {
    cgroup: Option<Cgroup>,
    child: Option<OwnedFd>,
}

impl Undo {
    fn disarm(&mut self) {
        self.child = None;
        self.cgroup = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            // It may have ended by itself; then there is still its zombie to reap.
            let _ = rustix::process::pidfd_send_signal(&child, Signal::KILL);
            let _ = rustix::process::waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED);
        }
        if let Some(cgroup) = self.cgroup.take() {
            // The error to report is the one that led here; what stays behind is found by its name later.
            let _ = cgroup.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use super::*;
    use crate::cgroup::Layout;
    use crate::container::{LogPolicy, Rootfs, SeccompPolicy};
    use crate::defaults;
    use crate::plan::Joined;

    #[test]
    fn only_asked_for_namespaces_are_new() {
        let none = Namespaces {
            user: None,
            network: Network::Host,
            pid: false,
            ipc: false,
            uts: false,
            cgroup: true,
            joined: Joined::default(),
        };
        assert_eq!(clone_flags(&none), u64::from(libc::CLONE_NEWNS.unsigned_abs()));
    }

    /// Most hosts where this runs have version 1 hierarchies that hold the controllers; the version 2 one beside
    /// them still takes processes, namespaces and device programs.
    #[test]
    fn on_version_2_alone_a_container_is_cloned_into_its_cgroup_and_kept_from_devices() {
        assert!(rustix::process::geteuid().is_root(), "this test makes a container and must run as root");
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let private =
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).expect("private mounts");
        let scratch = tempfile::Builder::new().prefix("runtime-").tempdir_in("/tmp").expect("a directory");
        let mut staging = Staging::open(&scratch.path().join("staging")).expect("a staging directory");
        let layout = Layout::detect().expect("cgroups").without_v1();
        assert!(layout.v2().is_some(), "this test needs a mounted cgroup2");
        staging.layout = Arc::new(layout);

        let root = scratch.path().join("root");
        std::fs::create_dir_all(root.join("bin")).expect("a directory");
        std::fs::copy("/bin/busybox", root.join("bin/sh")).expect("busybox-static is installed");
        let script = "cat /proc/self/cgroup; ls -d /sys/fs/cgroup/cgroup.procs; mknod /mem c 1 1; \
                      head -c 1 /mem; head -c 1 /dev/zero | wc -c";
        let name = format!("/runtime-v2-{}", std::process::id());
        let mut oci = defaults::spec(None);
        if let Some(process) = oci.process_mut() {
            process.set_args(Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()]));
        }
        if let Some(linux) = oci.linux_mut() {
            linux.set_cgroups_path(Some(name.clone().into()));
            if let Some(resources) = linux.resources_mut() {
                // Its controller is where version 1 has it.
                resources.set_pids(None);
            }
        }
        let spec = ContainerSpec {
            id: "v2".to_owned(),
            oci,
            rootfs: Rootfs::Directory { path: root, read_only: false },
            state_dir: scratch.path().to_owned(),
            terminal: None,
            open_stdin: false,
            log: LogPolicy::default(),
            seccomp: SeccompPolicy::Default,
            init: false,
            throw_away: false,
            traceparent: None,
        };
        let Spawned { pidfd, stdout, stderr, gate, cgroup, .. } =
            create(&spec, None, Vec::new(), &staging).unwrap_or_else(|error| panic!("create: {error}"));
        gate.open().expect("it starts");
        let mut text = [String::new(), String::new()];
        for (end, text) in [stdout, stderr].into_iter().flatten().zip(&mut text) {
            std::fs::File::from(end).read_to_string(text).expect("output");
        }
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).expect("it ended");
        cgroup.remove().expect("removed");
        let [out, err] = text;
        assert!(out.contains("0::/\n") && out.contains("/sys/fs/cgroup/cgroup.procs\n1\n"), "{out}{err}");
        assert!(err.contains("/mem: Operation not permitted"), "{out}{err}");
    }
}
