//! Where a helper finds a container's files: the root directory of a process in it. One that runs has such a process.
//! For one that does not, the keeper makes everything up to, not including, the execution of its program, under a name
//! of its own: what a crash leaves of that is in no record, and swept like any orphan.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use agent_runtime::keeper::client::Client;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::FilesError;
use crate::EngineError;
use crate::container::create::blocking;
use crate::container::files;
use crate::container::isolation::Resources;
use crate::container::record::{Entry, Record, short};
use crate::container::remove::end_cgroup;
use crate::container::spec::{self, Place};
use crate::engine::Inner;

/// What a helper starts with.
#[derive(Debug)]
pub(crate) struct Target {
    /// Marks the root directory.
    pub(super) root: OwnedFd,
    /// The process it was taken from.
    pub(super) process: OwnedFd,
    /// Whether that one has a user namespace of its own.
    pub(super) own_users: bool,
}

impl Target {
    /// Takes it from the process `pid`, which must belong to the container `id`.
    fn of(pid: i32, id: &str) -> Result<Target, FilesError> {
        let gone = || FilesError::helper("the container has ended");
        let failed = |what: &'static str| move |fault| FilesError::helper(format!("{what}: {fault}"));
        let number = Pid::from_raw(pid).ok_or_else(gone)?;
        let process = pidfd_open(number, PidfdFlags::empty()).map_err(|_| gone())?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty()).map_err(|_| gone())?;
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|_| gone())?;
        let users = std::fs::metadata(format!("/proc/{pid}/ns/user")).map_err(|_| gone())?;
        let ours = std::fs::metadata("/proc/self/ns/user").map_err(failed("look at /proc/self/ns/user"))?;
        // As long as the process lives nobody else has its number, so all of the above was about that very one.
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut ended, Some(&now)).is_ok_and(|count| count > 0) || !cgroup.contains(id) {
            return Err(gone());
        }
        let own_users = (users.dev(), users.ino()) != (ours.dev(), ours.ino());
        Ok(Target { root, process, own_users })
    }
}

/// What was made for a container that does not run.
#[derive(Debug)]
pub(crate) struct View {
    id: String,
}

impl Inner {
    /// The files of a container. The caller holds its `work` lock unless it runs, and closes the view in the end.
    pub(crate) async fn open_view(&self, entry: &Entry) -> Result<(Target, Option<View>), EngineError> {
        let (removed, pid) = {
            let live = entry.live();
            (live.removed, live.pid)
        };
        if removed {
            return Err(EngineError::NoSuchContainer(short(&entry.id)));
        }
        if let Some(pid) = pid
            && entry.state().is_alive()
        {
            return Ok((Target::of(pid, &entry.id)?, None));
        }
        let view = View { id: format!("{}-files", entry.id) };
        let opened = self.make_view(entry, &view).await;
        let opened = opened.and_then(|pid| Ok(Target::of(pid, &entry.id)?));
        match opened {
            Ok(target) => Ok((target, Some(view))),
            Err(error) => {
                self.close_view(Some(view)).await;
                Err(error)
            }
        }
    }

    async fn make_view(&self, entry: &Entry, view: &View) -> Result<i32, EngineError> {
        let record = bare(entry.live().record.clone(), &view.id);
        let mounts = self.snapshots.prepare(&entry.id, &record.layers, record.ids()).await?;
        let state_dir = self.config.container_dir(&view.id);
        files::make_dir(&state_dir)?;
        // The container's own, where it has run: they are part of what it shows.
        let own = self.config.container_dir(&entry.id);
        if own.join(files::BOUND[0].0).exists() {
            for (name, _) in files::BOUND {
                let failed = |error| EngineError::file("link", state_dir.join(name), error);
                std::fs::hard_link(own.join(name), state_dir.join(name)).or_else(is_there).map_err(failed)?;
            }
        } else {
            let named = files::Named {
                hostname: &record.hostname,
                address: None,
                gateway: None,
                shares_host: false,
                names: &record.config.isolation.names,
            };
            files::write(&state_dir, &named, record.ids())?;
        }
        let place = Place { mounts, state_dir, cgroup: self.config.cgroup(&view.id) };
        let spec = spec::build(&record, place, None)?;
        let made = self.keeper.run(None, move |client: &mut Client| client.create(&spec, None)).await?;
        made.map(|created| created.pid).map_err(|error| {
            EngineError::from(FilesError::helper(format!("the stopped container cannot be opened: {error}")))
        })
    }

    /// Takes away what [`Inner::open_view`] made.
    pub(crate) async fn close_view(&self, view: Option<View>) {
        let Some(View { id }) = view else { return };
        let name = id.clone();
        let deleted = self.keeper.run(None, move |client: &mut Client| client.delete(&name)).await;
        if let Ok(Err(error)) = &deleted {
            tracing::debug!(view = id, %error, "the keeper had no such view");
        }
        let (cgroup, dir) = (self.config.cgroup(&id), self.config.container_dir(&id));
        let cleaned = blocking(move || {
            end_cgroup(&cgroup)?;
            files::remove_dir(&dir)
        });
        if let Err(error) = cleaned.await {
            tracing::warn!(view = id, %error, "what a copy needed stays until the next start");
        }
    }
}

fn is_there(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

/// The same container, with nothing in it that only its program needs.
fn bare(mut record: Record, id: &str) -> Record {
    id.clone_into(&mut record.id);
    record.command = vec!["/".to_owned()];
    "/".clone_into(&mut record.working_dir);
    record.config.terminal = false;
    record.config.open_stdin = false;
    let isolation = &mut record.config.isolation;
    isolation.resources = Resources::default();
    isolation.init = false;
    isolation.sysctls.clear();
    record
}
