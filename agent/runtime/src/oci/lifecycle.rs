//! What happens to a container that is made: start, kill, pause, delete.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::create::{failed, gate_address};
use super::error::cannot;
use super::record::{GATE, Record, Status};
use super::{OciError, Runtime, hook};
use crate::cgroup::Cgroup;
use crate::process::channel::KeeperEnd;
use crate::process::message::{FromInit, ToInit};

/// How long a killed container may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// `SIGKILL`.
const KILL: i32 = 9;

impl Runtime {
    /// Opens the gate; returns when the program runs, or with the reason why it does not.
    pub fn start(&self, id: &str) -> Result<(), OciError> {
        let record = self.load(id)?;
        let status = self.status_of(&record)?;
        if status != Status::Created {
            return Err(OciError::State { id: id.to_owned(), status, verb: "start" });
        }
        self.open_gate(&record)?;
        let Some(hooks) = record.spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_ref()) else {
            return Ok(());
        };
        let state = record.hook_state().in_runtime("running", record.pid);
        hook::run_all(hooks, &state).map_err(|error| {
            // The program must not go on without what its hooks were to set up.
            let _ = self.end(&record);
            error.into()
        })
    }

    fn open_gate(&self, record: &Record) -> Result<(), OciError> {
        let directory = self.directory(&record.id);
        let connect = || -> io::Result<KeeperEnd> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = rustix::fs::open(&directory, flags, Mode::empty())?;
            let flags = SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            rustix::net::connect(&socket, &gate_address(&opened)?)?;
            // One start only: whoever comes next finds no gate.
            rustix::fs::unlinkat(&opened, GATE, rustix::fs::AtFlags::empty())?;
            Ok(KeeperEnd::of(socket))
        };
        let gate = connect().map_err(cannot("open the container's gate"))?;
        let lost = || cannot("hear from the container's process");
        gate.send(&ToInit::Go, &[]).map_err(lost())?;
        let program = || {
            let args = record.spec.process().as_ref().and_then(|process| process.args().clone());
            args.and_then(|args| args.into_iter().next()).unwrap_or_default()
        };
        match gate.receive().map_err(lost())? {
            None => Ok(()),
            Some((FromInit::Failed { step, object, errno }, _)) => Err(failed(step, object, errno)),
            Some((FromInit::NotExecuted { found: false, .. }, _)) => Err(OciError::NotFound(program())),
            Some((FromInit::NotExecuted { errno, .. }, _)) => Err(OciError::NotExecutable {
                program: program(),
                source: io::Error::from_raw_os_error(errno),
            }),
            Some(_) => Err(lost()(io::Error::from(io::ErrorKind::InvalidData))),
        }
    }

    /// Sends a signal to the container's process, or with `all` to every process in its cgroup.
    pub fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), OciError> {
        let record = self.load(id)?;
        if all {
            return signal_all(&record.cgroup()?, signal).map_err(cannot(format!("signal container {id}")));
        }
        let status = self.status_of(&record)?;
        let process = record.process();
        let (Some(process), Status::Created | Status::Running | Status::Paused) = (process, status) else {
            return Err(OciError::State { id: id.to_owned(), status, verb: "kill" });
        };
        let sent = crate::sys::signal::send(process.as_fd(), signal);
        sent.map_err(cannot(format!("send signal {signal} to container {id}")))?;
        // On version 1 a frozen process does not even die.
        if signal == KILL && status == Status::Paused {
            record.cgroup()?.thaw()?;
        }
        Ok(())
    }

    /// Freezes a container or lets it go on.
    pub fn pause(&self, id: &str, frozen: bool) -> Result<(), OciError> {
        let record = self.load(id)?;
        let status = self.status_of(&record)?;
        let (wanted, verb) = match frozen {
            true => (matches!(status, Status::Running | Status::Created), "pause"),
            false => (status == Status::Paused, "resume"),
        };
        if !wanted {
            return Err(OciError::State { id: id.to_owned(), status, verb });
        }
        let cgroup = record.cgroup()?;
        if frozen {
            cgroup.freeze()?;
        } else {
            cgroup.thaw()?;
        }
        Ok(())
    }

    /// The ids of its processes, as the host sees them.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>, OciError> {
        Ok(self.load(id)?.cgroup()?.processes())
    }

    /// Removes a container that has stopped, or with `force` any, and returns what its hooks complained about.
    pub fn delete(&self, id: &str, force: bool) -> Result<Vec<String>, OciError> {
        let record = match self.load(id) {
            Err(OciError::Missing(_)) if force => return Ok(Vec::new()),
            other => other?,
        };
        let status = self.status_of(&record)?;
        if status != Status::Stopped {
            if !force {
                return Err(OciError::State { id: id.to_owned(), status, verb: "delete" });
            }
            self.end(&record)?;
        }
        self.destroy(&record)
    }

    /// Kills everything of it and waits until the first process is gone.
    fn end(&self, record: &Record) -> Result<(), OciError> {
        let cgroup = record.cgroup()?;
        let Some(process) = record.process() else { return Ok(()) };
        let _ = crate::sys::signal::send(process.as_fd(), KILL);
        if cgroup.is_frozen() {
            // On version 1 a frozen process does not die before it goes on.
            let _ = cgroup.thaw();
        }
        let until = Instant::now() + PATIENCE;
        let pause = Timespec { tv_sec: 1, tv_nsec: 0 };
        while record.process().is_some() {
            if Instant::now() >= until {
                let source = io::Error::from(io::ErrorKind::TimedOut);
                return Err(OciError::Io { action: format!("end container {}", record.id), source });
            }
            // Readable once it has ended, reaped or not.
            let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&pause));
        }
        Ok(())
    }

    /// What `create` made is undone, then the poststop hooks run; they cannot fail it.
    pub(super) fn destroy(&self, record: &Record) -> Result<Vec<String>, OciError> {
        let cgroup = record.cgroup()?;
        if cgroup.exists() {
            // Without a namespace of process ids others may have outlived the first.
            cgroup.kill_all()?;
            if record.cgroup_made {
                cgroup.remove()?;
            }
        }
        if let Ok(own) = Cgroup::open("/agent-oci") {
            own.remove_if_empty();
        }
        let directory = self.directory(&record.id);
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(cannot(format!("remove {}", directory.display()))(error));
            }
            _ => {}
        }
        let hooks =
            record.spec.hooks().as_ref().and_then(|hooks| hooks.poststop().clone()).unwrap_or_default();
        let state = record.hook_state().in_runtime("stopped", 0);
        Ok(hook::run_each(&hooks, &state).iter().map(ToString::to_string).collect())
    }
}

fn signal_all(cgroup: &Cgroup, signal: i32) -> io::Result<()> {
    if signal == KILL {
        return cgroup.kill_all().map_err(io::Error::other);
    }
    for pid in cgroup.processes() {
        let Some(id) = rustix::process::Pid::from_raw(pid) else { continue };
        let Ok(process) = rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty()) else {
            continue;
        };
        // One that is in the cgroup no more is not the one meant.
        if cgroup.processes().contains(&pid) {
            crate::sys::signal::send(process.as_fd(), signal)?;
        }
    }
    Ok(())
}
