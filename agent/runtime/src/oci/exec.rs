//! A further process in a container.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Process;
use rustix::fs::{Mode, OFlags};

use super::create::{failed, ignored_signals, write_pid};
use super::error::cannot;
use super::init::{close_others, missing, present_root};
use super::namespace::Visit;
use super::record::{Record, Status};
use super::{Console, Created, OciError, Runtime, console};
use crate::cgroup::Cgroup;
use crate::execute::Timings;
use crate::execute::host::Host;
use crate::execute::init::Init;
use crate::plan::Program;
use crate::plan::oci::filter::{self, Filter};
use crate::plan::oci::identity::{self, Identity};
use crate::plan::oci::step::OciStep;
use crate::plan::step::{HostStep, InitStep};
use crate::process::channel::{self, InitEnd, KeeperEnd};
use crate::process::exec::{Executable, NotExecuted};
use crate::process::fork::fork;
use crate::process::message::{FromInit, ToInit};
use crate::sys::task::set_namespace;

/// What is asked for.
#[derive(Debug)]
pub struct Exec<'a> {
    /// In which container.
    pub id: &'a str,
    /// What, and as whom; its terminal is as the console says.
    pub process: &'a Process,
    /// Gets the process id as text.
    pub pid_file: Option<&'a Path>,
    /// Who gets the terminal.
    pub console: Console<'a>,
    /// How many descriptors from 3 on the process keeps.
    pub preserve: u32,
}

/// The namespaces a process joins, by name and flag. The one of users comes first: it gives the right to the rest.
const KINDS: [(&str, libc::c_int); 6] = [
    ("user", libc::CLONE_NEWUSER),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("net", libc::CLONE_NEWNET),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("mnt", libc::CLONE_NEWNS),
];

impl Runtime {
    /// The process that a container was made with: what a further one takes after.
    pub fn first_process(&self, id: &str) -> Result<Process, OciError> {
        let record = self.load(id)?;
        record
            .spec
            .process()
            .clone()
            .ok_or_else(|| OciError::Usage("the container has no process".to_owned()))
    }

    /// Runs a process in a container that runs; returns when it has executed its program.
    pub fn exec(&self, asked: &Exec<'_>) -> Result<Created, OciError> {
        let record = self.load(asked.id)?;
        let status = self.status_of(&record)?;
        let (Some(_first), Status::Running | Status::Created) = (record.process(), status) else {
            return Err(OciError::State { id: asked.id.to_owned(), status, verb: "execute anything in" });
        };
        crate::sys::task::close_on_exec_from(3 + asked.preserve)
            .map_err(cannot("prepare the descriptors"))?;
        console::check(&asked.console, asked.process.terminal().unwrap_or(false))?;
        let who = identity::plan(asked.process)?;
        let program = crate::plan::program(asked.process)?;
        let executable = Executable::new(&program)
            .map_err(|_| OciError::Usage("process.args: a NUL byte in a word".to_owned()))?;
        let seccomp = record.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let filter = filter::plan(seccomp)?;
        let joined = Joined::open(&record).map_err(cannot("open the container's namespaces"))?;
        let cgroup = record.cgroup()?;
        let (ours, theirs) = channel::pair().map_err(cannot("open a channel"))?;
        let entering = Entering {
            joined: &joined,
            steps: steps(asked.process, &who),
            drop: who.drop.clone(),
            late: asked.process.no_new_privileges().unwrap_or(false),
            filter,
            program: &program,
            executable: &executable,
            preserve: asked.preserve,
            ignored_signals: ignored_signals().map_err(cannot("read /proc/self/status"))?,
        };
        let directory = self.directory(asked.id);
        let mut visit = joined.visit().map_err(cannot("join the container's processes"))?;
        let host = Host::new(&cgroup, &directory, 0);
        let forked = fork(0, None, || enter(&entering, host, theirs));
        visit.leave().map_err(cannot("leave the container's processes"))?;
        let (pid, pidfd) = forked.map_err(cannot("make a process"))?;
        let master = follow(&ours, pid, &cgroup, &directory, &who, asked);
        let master = master.inspect_err(|_| {
            let _ = crate::sys::signal::send(pidfd.as_fd(), 9);
            let waited = rustix::process::WaitId::PidFd(pidfd.as_fd());
            let _ = rustix::process::waitid(waited, rustix::process::WaitIdOptions::EXITED);
        })?;
        if let Some(path) = asked.pid_file {
            write_pid(path, pid).map_err(cannot(format!("write {}", path.display())))?;
        }
        Ok(Created { pid, pidfd, master })
    }
}

/// The container's namespaces that are not this process's.
struct Joined {
    kinds: Vec<(u64, OwnedFd)>,
    pid: Option<OwnedFd>,
    time: Option<OwnedFd>,
    /// The container's root, for one without a mount namespace.
    root: OwnedFd,
}

impl Joined {
    fn open(record: &Record) -> io::Result<Joined> {
        let open = |kind: &str| -> io::Result<Option<OwnedFd>> {
            let theirs = format!("/proc/{}/ns/{kind}", record.pid);
            let (ours, there) =
                (rustix::fs::stat(format!("/proc/self/ns/{kind}"))?, rustix::fs::stat(&theirs)?);
            if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino) {
                return Ok(None);
            }
            super::namespace::open(Path::new(&theirs)).map(Some)
        };
        let mut kinds = Vec::new();
        for (kind, flag) in KINDS {
            kinds.extend(open(kind)?.map(|namespace| (u64::from(flag.unsigned_abs()), namespace)));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{}/root", record.pid), flags, Mode::empty())?;
        let joined = Joined { kinds, pid: open("pid")?, time: open("time")?, root };
        // All of it was opened by number, and that may have become another process's, even one of the host.
        record.process().ok_or(rustix::io::Errno::SRCH)?;
        Ok(joined)
    }

    /// Those that only children of this process get.
    fn visit(&self) -> io::Result<Visit> {
        let mut visit = Visit::none();
        for (flag, namespace) in [
            (u64::from(libc::CLONE_NEWPID.unsigned_abs()), &self.pid),
            (crate::plan::oci::namespace::TIME, &self.time),
        ] {
            if let Some(namespace) = namespace {
                visit.enter_one(flag, namespace)?;
            }
        }
        Ok(visit)
    }
}

/// What the child knows.
struct Entering<'a> {
    joined: &'a Joined,
    steps: Vec<InitStep>,
    drop: Vec<InitStep>,
    /// The filter is loaded without privileges, as the last thing.
    late: bool,
    filter: Option<Filter>,
    program: &'a Program,
    executable: &'a Executable,
    preserve: u32,
    ignored_signals: u64,
}

fn steps(process: &Process, who: &Identity) -> Vec<InitStep> {
    let mut steps = vec![InitStep::NewSession];
    if process.terminal().unwrap_or(false) {
        let side = |length: u64| u16::try_from(length).unwrap_or(u16::MAX);
        let size = process.console_size().map_or((0, 0), |size| (side(size.height()), side(size.width())));
        let size = crate::container::WindowSize { rows: size.0, columns: size.1 };
        steps.push(InitStep::Oci(OciStep::Terminal { size, owner: who.owner, console: false }));
    } else if who.owner.uid != 0 {
        steps.push(InitStep::Oci(OciStep::OwnStreams(who.owner)));
    }
    steps.extend(who.init.iter().cloned());
    steps
}

/// The caller's side: cgroup and limits, then the child's word that it is on its way.
fn follow(
    channel: &KeeperEnd,
    pid: i32,
    cgroup: &Cgroup,
    directory: &Path,
    who: &Identity,
    asked: &Exec<'_>,
) -> Result<Option<OwnedFd>, OciError> {
    cgroup.enter(pid, false)?;
    let mut host = Host::new(cgroup, directory, 0);
    host.set_child(pid, false).map_err(cannot("find the process"))?;
    let mut timings = Timings::default();
    let steps: Vec<HostStep> = who.host.iter().chain(&who.at_gate).cloned().collect();
    host.run(&steps, &mut timings)?;
    let lost = || cannot("hear from the process");
    channel.send(&ToInit::Prepared, &[]).map_err(lost())?;
    let program = || asked.process.args().as_ref().and_then(|args| args.first().cloned()).unwrap_or_default();
    let mut master = None;
    loop {
        match channel.receive().map_err(lost())? {
            None => return Ok(master),
            Some((FromInit::Streams(_), descriptors)) => {
                master = console::hand_over(&asked.console, descriptors)?;
            }
            Some((FromInit::Failed { step, object, errno }, _)) => return Err(failed(step, object, errno)),
            Some((FromInit::NotExecuted { found: false, .. }, _)) => {
                return Err(OciError::NotFound(program()));
            }
            Some((FromInit::NotExecuted { errno, .. }, _)) => {
                let source = io::Error::from_raw_os_error(errno);
                return Err(OciError::NotExecutable { program: program(), source });
            }
            Some((FromInit::Ready { .. }, _)) => {}
        }
    }
}

/// The child's side; returning ends the process.
fn enter(entering: &Entering<'_>, host: Host<'_>, channel: InitEnd) {
    // Until the program runs nothing of the container may look at this copy of the runtime.
    let hidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let Ok(Some((ToInit::Prepared, _))) = channel.receive() else { return };
    let answer = match hidden.map_err(io::Error::from).and_then(|()| join(entering.joined)) {
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            FromInit::Failed {
                step: "join".to_owned(),
                object: "the container's namespaces".to_owned(),
                errno,
            }
        }
        Ok(()) => match present_root() {
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                FromInit::Failed { step: "open-root".to_owned(), object: "/".to_owned(), errno }
            }
            Ok(root) => {
                let mut init = Init::with_root(host, root, channel);
                let answer = confine(entering, &mut init);
                let _ = init.channel.send(&answer, &[]);
                std::mem::forget(init);
                return;
            }
        },
    };
    let _ = channel.send(&answer, &[]);
}

fn join(joined: &Joined) -> io::Result<()> {
    let mount = u64::from(libc::CLONE_NEWNS.unsigned_abs());
    for (flag, namespace) in &joined.kinds {
        set_namespace(namespace.as_fd(), *flag)?;
    }
    if joined.kinds.iter().any(|(flag, _)| *flag == mount) {
        return Ok(());
    }
    rustix::process::fchdir(&joined.root)?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

fn confine(entering: &Entering<'_>, init: &mut Init) -> FromInit {
    init.ignored_signals = entering.ignored_signals;
    if let Some(filter) = &entering.filter {
        init.filter = Some(filter.program.clone().into());
        init.filter_flags = filter.flags;
    }
    let user =
        entering.joined.kinds.iter().any(|(flag, _)| *flag == u64::from(libc::CLONE_NEWUSER.unsigned_abs()));
    let mut steps: Vec<InitStep> = if user { vec![InitStep::BecomeRoot(Vec::new())] } else { Vec::new() };
    steps.extend(entering.steps.iter().cloned());
    let mut timings = Timings::default();
    if let Err(error) = init.run(&steps, &mut timings) {
        return super::init::failed(&error);
    }
    if let Some(NotExecuted { found, errno }) = missing(entering.program) {
        return FromInit::NotExecuted { found, errno };
    }
    let number = init.channel.number().unsigned_abs();
    if close_others(3 + entering.preserve, [number, number]).is_err() {
        return FromInit::Failed {
            step: "close-descriptors".to_owned(),
            object: String::new(),
            errno: libc::EIO,
        };
    }
    let load = entering.filter.iter().map(|_| InitStep::LoadSeccomp);
    let last: Vec<InitStep> = match entering.late {
        true => entering.drop.iter().cloned().chain(load).collect(),
        false => load.chain(entering.drop.iter().cloned()).collect(),
    };
    if let Err(error) = init.run(&last, &mut timings) {
        return super::init::failed(&error);
    }
    let NotExecuted { found, errno } = entering.executable.run();
    FromInit::NotExecuted { found, errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_another_processs_by_now_is_not_joined() {
        let pid = i32::try_from(std::process::id()).expect("a process id");
        let (started, _) = super::super::record::start_time(pid).expect("this process");
        let record = |started| Record {
            id: "gone".to_owned(),
            bundle: "/".into(),
            rootfs: "/".into(),
            pid,
            started,
            cgroup: "/gone".to_owned(),
            cgroup_made: false,
            created: String::new(),
            spec: oci_spec::runtime::Spec::default(),
        };
        Joined::open(&record(started)).map(drop).expect("it is the one it was");
        let refused = Joined::open(&record(started + 1)).map(drop).expect_err("it is another one");
        assert_eq!(refused.raw_os_error(), Some(libc::ESRCH));
    }
}
