//! A further process in a running container: cloned by the keeper into the container's cgroup and process ids,
//! it joins everything else by itself and waits at its gate like a first process.
//!
//! The keeper never waits for it. The container may be frozen, throttled or out of memory, and the process is in
//! it from the start; so its words are read when they are there ([`Joining::advance`]), whenever that is.
//!
//! Hostile containers: until it executes its program the process can neither be traced nor looked into through
//! `/proc` (not dumpable), and it lets go of every descriptor of the keeper's before it joins anything. The root
//! it gets is that of the mount namespace, whatever processes inside call their root.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

use super::channel::{self, InitEnd, KeeperEnd};
use super::clone::Cloned;
use super::exec::Executable;
use super::init::{GIVEN_UP, failed as told, go};
use super::message::{FromInit, ToInit};
use super::spawn::{Ends, clone_into, failed, filter, silent, step_failed};
use super::{CreateError, Staging, StartError};
use crate::cgroup::Cgroup;
use crate::container::ExecSpec;
use crate::execute::host::Host;
use crate::execute::init::Init;
use crate::execute::{StepError, Timings};
use crate::plan::step::HostStep;
use crate::plan::{Namespaces, join as plan};
use crate::seccomp::Instruction;
use crate::sys::descriptor::{close_all_but, exit};

/// A process on its way into a container. Dropped before its program runs, it ends.
#[derive(Debug)]
pub struct Joining {
    /// Its process id, as the host sees it.
    pub pid: i32,
    channel: KeeperEnd,
    cgroup: Cgroup,
    at_gate: Vec<HostStep>,
    program: String,
    went: bool,
}

/// How far it has come.
#[derive(Debug)]
pub enum Progress {
    /// Nothing new.
    Waiting,
    /// Its standard streams are made.
    Streams(Ends),
    /// It waits at its gate, all of it made: what it is can be read from outside, and [`Joining::go`] lets it on.
    AtGate,
    /// It executes its program, or something has killed it in that moment.
    Runs,
}

/// Why it did not come to run its program.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It could not be made as asked for.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The program could not be executed.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Clones a process into the container of `init`, its living first process, and lets it join. On error nothing
/// is left behind.
pub fn join(
    spec: &ExecSpec,
    init: BorrowedFd<'_>,
    namespaces: &Namespaces,
    cgroup: &Cgroup,
    staging: &Staging,
) -> Result<(Joining, OwnedFd), CreateError> {
    let plan = plan::plan(spec, namespaces)?;
    let executable = Executable::new(&plan.program)
        .map_err(|_| CreateError::Invalid("process: a NUL byte in an argument or variable".to_owned()))?;
    let filter = filter(&plan.filter, plan.capabilities, staging)?;
    let (keeper_end, init_end) = channel::pair().map_err(|error| failed("open-channel", &spec.id, error))?;
    let visit = Visit::enter(init, staging.home_pids.as_fd())
        .map_err(|error| failed("enter-process-ids", "the container", error))?;
    let cloned = clone_into(0, cgroup);
    if matches!(cloned, Ok((Cloned::Child, _))) {
        // Only the parent goes back; this process is where it belongs.
        std::mem::forget(visit);
        // With a copy of the keeper's end it would never learn that the keeper has died.
        drop(keeper_end);
        let child = Child { plan: &plan, init, with_user: namespaces.user.is_some(), filter, staging };
        run(child, &executable, init_end, cgroup)
    }
    visit.leave().map_err(|error| failed("leave-process-ids", "the container", error))?;
    let (cloned, in_v2_cgroup) = cloned.map_err(|error| failed("clone", "the container", error))?;
    let Cloned::Parent { pid, pidfd } = cloned else { exit(GIVEN_UP) };
    drop(init_end);
    let child = Unfinished(Some(pidfd));
    let mut host = Host::new(cgroup, &staging.layers, 0);
    host.set_child(pid, in_v2_cgroup).map_err(|error| failed("find-child", format!("/proc/{pid}"), error))?;
    host.run(&plan.host, &mut Timings::default())?;
    keeper_end.send(&ToInit::Prepared, &[]).map_err(|error| failed("hand-over", &spec.id, error))?;
    let program = plan.program.args.into_iter().next().unwrap_or_default();
    let joining = Joining {
        pid,
        channel: keeper_end,
        cgroup: cgroup.clone(),
        at_gate: plan.at_gate,
        program,
        went: false,
    };
    Ok((joining, child.finish()?))
}

impl AsFd for Joining {
    /// Readable when [`Joining::advance`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Joining {
    /// Takes the next step. To be called when its descriptor is readable, until it runs or has failed; after a
    /// failure the process ends by itself and is to be reaped.
    ///
    /// # Errors
    /// Which step failed, or why the program could not be executed.
    pub fn advance(&mut self) -> Result<Progress, JoinError> {
        let lost = |source| StartError::Lost { source };
        match self.channel.receive().map_err(lost)? {
            Some((FromInit::Streams(streams), descriptors)) => {
                Ok(Progress::Streams(Ends::of(streams, descriptors)))
            }
            Some((FromInit::Ready { .. }, _)) => {
                let mut host = Host::new(&self.cgroup, std::path::Path::new(""), 0);
                let at_gate = host
                    .set_child(self.pid, false)
                    .map_err(|error| failed("find-child", format!("/proc/{}", self.pid), error))
                    .and_then(|()| Ok(host.run(&self.at_gate, &mut Timings::default())?));
                at_gate?;
                Ok(Progress::AtGate)
            }
            Some((FromInit::Failed { step, object, errno }, _)) => {
                Err(step_failed(&step, object, errno).into())
            }
            Some((FromInit::NotExecuted { found: false, .. }, _)) => {
                Err(StartError::NotFound { program: self.program.clone() }.into())
            }
            Some((FromInit::NotExecuted { errno, .. }, _)) => {
                let source = io::Error::from_raw_os_error(errno);
                Err(StartError::NotExecutable { program: self.program.clone(), source }.into())
            }
            None if self.went => Ok(Progress::Runs),
            None => Err(silent(&self.program).into()),
        }
    }

    /// Opens its gate. [`Joining::advance`] tells whether its program could be executed.
    ///
    /// # Errors
    /// When it has ended meanwhile.
    pub fn go(&mut self) -> Result<(), StartError> {
        self.channel.send(&ToInit::Go, &[]).map_err(|source| StartError::Lost { source })?;
        self.went = true;
        Ok(())
    }
}

/// Process ids of children are those of another namespace until it is dropped.
pub(super) struct Visit<'a> {
    home: Option<BorrowedFd<'a>>,
}

impl<'a> Visit<'a> {
    /// As [`Visit::enter`], into a namespace that is open itself.
    pub(super) fn enter_namespace(namespace: BorrowedFd<'_>, home: BorrowedFd<'a>) -> io::Result<Visit<'a>> {
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::ProcessID))?;
        Ok(Visit { home: Some(home) })
    }

    fn enter(process: BorrowedFd<'_>, home: BorrowedFd<'a>) -> io::Result<Visit<'a>> {
        rustix::thread::move_into_thread_name_spaces(process, ThreadNameSpaceType::PROCESS_ID)?;
        Ok(Visit { home: Some(home) })
    }

    pub(super) fn leave(mut self) -> io::Result<()> {
        self.home.take().map_or(Ok(()), go_home)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            // Only on the way out of another error, which is the one to report.
            let _ = go_home(home);
        }
    }
}

fn go_home(home: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::thread::move_into_link_name_space(home, Some(LinkNameSpaceType::ProcessID))?)
}

/// Ends and reaps the child when its preparation fails.
struct Unfinished(Option<OwnedFd>);

impl Unfinished {
    fn finish(mut self) -> Result<OwnedFd, CreateError> {
        self.0.take().ok_or_else(|| silent("the child"))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            // It may have ended by itself; then there is still its zombie to reap.
            let _ = rustix::process::pidfd_send_signal(&child, Signal::KILL);
            let _ = rustix::process::waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED);
        }
    }
}

/// What the child starts with.
struct Child<'a> {
    plan: &'a plan::JoinPlan,
    init: BorrowedFd<'a>,
    with_user: bool,
    filter: Option<Rc<[Instruction]>>,
    staging: &'a Staging,
}

fn run(child: Child<'_>, executable: &Executable, channel: InitEnd, cgroup: &Cgroup) -> ! {
    // A panic must not unwind into the keeper's code, of which this is a copy.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        live(child, executable, channel, cgroup);
    }));
    drop(ended);
    exit(GIVEN_UP)
}

fn live(child: Child<'_>, executable: &Executable, channel: InitEnd, cgroup: &Cgroup) {
    // In its cgroup before it joins anything: what it sees as its own is the container's.
    let Ok(Some((ToInit::Prepared, _))) = channel.receive() else { exit(GIVEN_UP) };
    let root = match enter(&child, &channel) {
        Ok(root) => root,
        Err(error) => {
            let words = ("join-namespaces".to_owned(), "the container".to_owned());
            let _ = channel.send(&told(&StepError::new(words, error)), &[]);
            exit(GIVEN_UP)
        }
    };
    let mut timings = Timings::default();
    timings.add("join", Instant::now());
    let mut init = Init::new(Host::new(cgroup, &child.staging.layers, 0), root, channel);
    init.filter = child.filter;
    init.ignored_signals = child.staging.ignored_signals;
    go(init, &child.plan.init, timings, executable)
}

/// Lets go of the keeper's descriptors, hides, joins, and answers the container's root.
fn enter(child: &Child<'_>, channel: &InitEnd) -> io::Result<OwnedFd> {
    nix::sys::prctl::set_dumpable(false)?;
    close_all_but([child.init.as_raw_fd().unsigned_abs(), channel.number().unsigned_abs()])?;
    let mut kinds = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::CONTROL_GROUP;
    if child.with_user {
        kinds |= ThreadNameSpaceType::USER;
    }
    // All at once, judged by the rights this process has now: the network may be the host's to give.
    rustix::thread::move_into_thread_name_spaces(child.init, kinds)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, "/", flags, Mode::empty())?)
}
