//! Starting and ending containers. Whoever changes a container on the host
//! holds its `work` lock; an end that the keeper reports waits for that lock, so
//! it is never seen before the start it belongs to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_runtime::attest::AttestError;
use agent_runtime::container::ContainerSpec;
use agent_runtime::keeper::Exit;
use agent_runtime::keeper::client::{Client, ClientError};
use agent_runtime::keeper::protocol::ErrorKind;

use super::again::StopOptions;
use super::create::now_ms;
use super::record::{Entry, Phase, Record, short};
use super::restart::End;
use super::spec::{self, Place};
use super::{ContainerEventKind, ContainerState, files};
use crate::EngineError;
use crate::engine::Inner;
use crate::records::Durability;
use crate::snapshot::Mounts;

/// Between the stop signal and SIGKILL when nobody says how long.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// After SIGKILL a container is gone at once, unless the kernel holds it.
const AFTER_KILL: Duration = Duration::from_secs(30);

pub(super) const SIGKILL: i32 = 9;

type Timings = Vec<(String, u64)>;

impl Inner {
    pub(crate) async fn start(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        trace: Option<String>,
    ) -> Result<Timings, EngineError> {
        let _work = entry.work.lock().await;
        if entry.live().removed {
            return Err(EngineError::NoSuchContainer(entry.id.clone()));
        }
        let (phase, auto_remove) = {
            let live = entry.live();
            (live.record.phase, live.record.config.auto_remove)
        };
        match phase {
            Phase::Created | Phase::Exited => {}
            Phase::Started if entry.state() == ContainerState::Paused => {
                return Err(self.wrong_state(entry, "unpause it instead"));
            }
            Phase::Started => return Err(self.wrong_state(entry, "it runs already")),
            Phase::Making | Phase::Removing => {
                return Err(self.wrong_state(entry, "it is being made or removed"));
            }
        }
        self.start_over(entry).await?;
        match self.launch(entry, trace).await {
            Ok(launched) => self.started(entry, launched).await,
            Err(error) => {
                self.tear_down(entry).await;
                if auto_remove {
                    self.erase(entry).await?;
                } else {
                    let record = entry.change(|live| {
                        live.record.error = Some(error.to_string());
                        live.pending.clear();
                    });
                    self.put(&record, Durability::Volatile).await?;
                }
                Err(error)
            }
        }
    }

    /// It runs: remembers and tells that.
    pub(crate) async fn started(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        (pid, timings): (i32, Timings),
    ) -> Result<Timings, EngineError> {
        let record = entry.change(|live| {
            live.record.phase = Phase::Started;
            live.record.started_at_ms = Some(now_ms());
            live.record.exit = None;
            live.record.error = None;
            live.record.taken_down = false;
            live.record.restarts.due_at_ms = None;
            live.pid = Some(pid);
            live.paused = false;
            live.failing = false;
            live.record.health = None;
            live.start_timings.clone_from(&timings);
        });
        self.tell_connected(entry);
        self.tell(entry, ContainerEventKind::Started);
        self.watch_health(entry, false);
        // What the keeper holds decides at the next start, not this.
        self.put(&record, Durability::Volatile).await?;
        Ok(timings)
    }

    /// Its writable directories: those of its making for its first start.
    async fn directories(&self, entry: &Entry, record: &Record) -> Result<Mounts, EngineError> {
        let made = entry.live().mounts.take();
        match made {
            Some(mounts) => Ok(mounts),
            None => Ok(self.snapshots.prepare(&record.id, &record.layers, record.ids()).await?),
        }
    }

    pub(crate) async fn launch(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        trace: Option<String>,
    ) -> Result<(i32, Timings), EngineError> {
        let begun = Instant::now();
        let mut timings = Timings::new();
        let mut step = |name: &str, since: Instant| {
            timings.push((name.to_owned(), u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)));
        };
        let plug = self.plug(entry).await?;
        step("network attach", begun);
        let since = Instant::now();
        self.claim_ports(entry).await?;
        step("publish ports", since);
        let since = Instant::now();
        let record = entry.live().record.clone();
        let mounts = self.directories(entry, &record).await?;
        step("snapshot", since);
        let place = Place {
            mounts,
            state_dir: self.config.container_dir(&record.id),
            cgroup: record.cgroup(&self.config),
        };
        let trace = trace.or_else(|| record.config.traceparent.clone());
        let mut spec = spec::build(&record, place, trace.clone())?;
        let since = Instant::now();
        let mut opened = self.open_all(&record, &mut spec).await?;
        let shared = self.open_shared(&record, &mut spec, &mut opened).await?;
        step("open mounts", since);
        let pending = std::mem::take(&mut entry.live().pending);
        let short_id = record.short_id();
        let attestor = Arc::clone(&self.attestor);
        let room = self.real_time_room(&record).await?;
        let hand_over = move |client: &mut Client| {
            // Written each time: the address is another one.
            let named = files::Named {
                hostname: &record.hostname,
                address: plug.address,
                gateway: plug.gateway,
                shares_host: plug.shares_host,
                names: &record.config.isolation.names,
            };
            files::write(&spec.state_dir, &named, record.ids()).map_err(Failed::Engine)?;
            // Another one than a moment ago, if that was killed.
            let keeper = client.pid();
            let netns = plug.netns.as_ref().map(AsFd::as_fd);
            spawn(client, &spec, netns, &opened, &pending, |pid| attestor.check(&spec, pid, netns, keeper))
        };
        let since = Instant::now();
        let answer = self.keeper.run(trace, hand_over).await?;
        drop((shared, room));
        let (pid, steps) = match answer {
            Ok(spawned) => spawned,
            Err(Failed::Engine(error)) => return Err(error),
            Err(Failed::Attestation(error)) => {
                tracing::error!(container = entry.id, %error, "a container was stopped before its program ran");
                self.tell(entry, ContainerEventKind::AttestFailed { exec: None, reason: error.to_string() });
                let reason = format!("{error}; its program was not run, please report this as a bug");
                return Err(EngineError::Start { id: short_id, reason, exit_code: 125 });
            }
            Err(Failed::Keeper(error)) => {
                let exit_code = exit_code(&error);
                return Err(EngineError::Start { id: short_id, reason: error.to_string(), exit_code });
            }
        };
        step("keeper", since);
        timings.extend(steps);
        Ok((pid, timings))
    }

    /// The keeper reports an end.
    pub(crate) async fn ended(self: &Arc<Self>, entry: &Arc<Entry>, exit: Exit) {
        let _work = entry.work.lock().await;
        self.ended_locked(entry, exit).await;
    }

    /// As [`Inner::ended`]; the caller holds the container's `work` lock.
    pub(crate) async fn ended_locked(self: &Arc<Self>, entry: &Arc<Entry>, exit: Exit) {
        {
            let live = entry.live();
            // The same end may be told twice: by the keeper's list and by its event.
            if live.removed || live.record.phase == Phase::Exited && live.record.exit.as_ref() == Some(&exit)
            {
                return;
            }
        }
        let leaves = {
            let live = entry.live();
            live.record.config.auto_remove && !live.restarting
        };
        if leaves {
            // Whoever waits for its end may use its ports at once.
            entry.live().address = None;
            self.release_ports(entry).await;
        }
        let record = entry.change(|live| {
            live.record.phase = Phase::Exited;
            live.record.exit = Some(exit.clone());
            live.pid = None;
            live.paused = false;
            let ran_ms = exit.at_ms.saturating_sub(live.record.started_at_ms.unwrap_or(exit.at_ms));
            let end = End { failed: exit.code != 0 || live.failing, ran_ms };
            live.record.restarts = self.decide(&live.record, end);
        });
        if exit.oom_killed {
            self.tell(entry, ContainerEventKind::OutOfMemory);
        }
        self.tell(entry, ContainerEventKind::Exited(exit));
        self.tell_disconnected(entry);
        let freed = self.take_down(entry, leaves).await;
        let done = if leaves {
            self.erase_rest(entry, freed).await
        } else {
            self.put(&record, Inner::durability(&record)).await
        };
        self.schedule(entry);
        if let Err(error) = done {
            tracing::warn!(container = record.id, %error, "the end of a container is not recorded");
        }
    }

    /// Takes away what only a running container needs. What fails is left to
    /// the next removal or start of the engine, which try again.
    ///
    /// Answers whether neither cgroup nor network of it is left.
    pub(crate) async fn tear_down(&self, entry: &Entry) -> bool {
        self.take_down(entry, false).await
    }

    /// As [`Inner::tear_down`]. The network of a container that `leaves` by itself goes a moment later, together with
    /// others': nobody waits for it.
    async fn take_down(&self, entry: &Entry, leaves: bool) -> bool {
        entry.live().address = None;
        self.release_ports(entry).await;
        let id = entry.id.clone();
        let mut freed = match self.keeper.run(None, move |client: &mut Client| forget(client, &id)).await {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => {
                tracing::warn!(container = entry.id, %error, "the keeper does not let go of a container");
                false
            }
            Err(error) => {
                tracing::warn!(container = entry.id, %error, "the keeper does not let go of a container");
                false
            }
        };
        let detached = match leaves {
            true => self.network.retire(&entry.id).await,
            false => self.network.detach(&entry.id).await,
        };
        if let Err(error) = detached {
            freed = false;
            tracing::warn!(container = entry.id, %error, "a container is not detached from the network");
        }
        let has_mounts = !entry.live().record.config.mounts.is_empty();
        if has_mounts && let Err(error) = self.unmount_volumes().await {
            tracing::warn!(container = entry.id, %error, "the file system of a volume stays mounted");
        }
        freed
    }

    pub(crate) async fn stop(
        &self,
        entry: &Arc<Entry>,
        grace: Option<Duration>,
    ) -> Result<Exit, EngineError> {
        self.stop_as(entry, StopOptions { grace, signal: None }).await
    }

    pub(super) async fn stop_by(
        &self,
        entry: &Arc<Entry>,
        options: StopOptions,
    ) -> Result<Exit, EngineError> {
        loop {
            match entry.state() {
                ContainerState::Created => {
                    return Err(self.wrong_state(entry, "only a running one can be stopped"));
                }
                ContainerState::Exited => {
                    self.hold_back(entry).await?;
                    return self.exit_of(entry);
                }
                ContainerState::Restarting => {
                    // Its restart may be under way.
                    let _work = entry.work.lock().await;
                    if entry.state() == ContainerState::Restarting {
                        self.hold_back(entry).await?;
                    }
                }
                ContainerState::Running | ContainerState::Paused => break,
            }
        }
        self.hold_back(entry).await?;
        self.end_by(entry, options).await
    }

    /// Ends a running container; what its policy says of that holds.
    pub(crate) async fn end(&self, entry: &Arc<Entry>, grace: Option<Duration>) -> Result<Exit, EngineError> {
        self.end_by(entry, StopOptions { grace, signal: None }).await
    }

    async fn end_by(&self, entry: &Arc<Entry>, options: StopOptions) -> Result<Exit, EngineError> {
        let (signal, configured) = {
            let live = entry.live();
            let signal = options.signal.unwrap_or(live.record.stop_signal);
            (signal, live.record.config.stop_grace)
        };
        let grace = options.grace.or(configured).unwrap_or(DEFAULT_GRACE);
        self.signal(entry, signal).await?;
        if let Ok(exit) = tokio::time::timeout(grace, self.wait(entry)).await {
            return exit;
        }
        self.end_now(entry).await
    }

    /// SIGKILL, and the end it brings.
    pub(crate) async fn end_now(&self, entry: &Arc<Entry>) -> Result<Exit, EngineError> {
        self.signal(entry, SIGKILL).await?;
        tokio::time::timeout(AFTER_KILL, self.wait(entry)).await.unwrap_or_else(|_| {
            let id = entry.live().record.short_id();
            Err(EngineError::Keeper(format!("container {id} did not end within {AFTER_KILL:?} of SIGKILL")))
        })
    }

    pub(crate) async fn kill(&self, entry: &Arc<Entry>, signal: i32) -> Result<(), EngineError> {
        if !entry.state().is_alive() {
            return Err(self.wrong_state(entry, "only a running one takes signals"));
        }
        if signal == SIGKILL || signal == entry.live().record.stop_signal {
            self.hold_back(entry).await?;
        }
        self.signal(entry, signal).await
    }

    async fn signal(&self, entry: &Arc<Entry>, signal: i32) -> Result<(), EngineError> {
        let id = entry.id.clone();
        match self.keeper.run(None, move |client: &mut Client| client.kill(&id, signal)).await? {
            Ok(()) => {
                self.tell(entry, ContainerEventKind::Killed { signal });
                self.wake(entry).await
            }
            Err(ClientError::Refused { kind: ErrorKind::Invalid, message }) => {
                Err(EngineError::invalid("signal", message))
            }
            // It has ended meanwhile; that news is on its way.
            Err(ClientError::Refused { kind: ErrorKind::State | ErrorKind::NotFound, .. }) => Ok(()),
            Err(error) => Err(EngineError::Keeper(error.to_string())),
        }
    }

    pub(crate) async fn wait(&self, entry: &Arc<Entry>) -> Result<Exit, EngineError> {
        let mut state = entry.watch();
        // Only fails when the entry is gone, and we hold it.
        let _ = state.wait_for(|state| state.has_ended()).await;
        self.exit_of(entry)
    }

    fn exit_of(&self, entry: &Entry) -> Result<Exit, EngineError> {
        let live = entry.live();
        live.record.exit.clone().ok_or_else(|| EngineError::NoSuchContainer(live.record.short_id()))
    }

    pub(crate) fn wrong_state(&self, entry: &Entry, needs: &'static str) -> EngineError {
        let state = entry.state();
        EngineError::State { id: short(&entry.id), state, needs }
    }
}

/// What failed in handing a container to the keeper.
enum Failed {
    Engine(EngineError),
    Keeper(ClientError),
    Attestation(AttestError),
}

fn spawn(
    client: &mut Client,
    spec: &ContainerSpec,
    netns: Option<BorrowedFd<'_>>,
    opened: &[OwnedFd],
    pending: &[std::os::unix::net::UnixStream],
    attest: impl FnOnce(i32) -> Result<(), AttestError>,
) -> Result<(i32, Timings), Failed> {
    let mounts: Vec<BorrowedFd<'_>> = opened.iter().map(AsFd::as_fd).collect();
    let mut created = client.create_with(spec, netns, &mounts).map_err(Failed::Keeper)?;
    let since = Instant::now();
    if let Err(error) = attest(created.pid) {
        // It waits at its gate and is gone with it; what failed to be taken away is tried again.
        let _ = client.delete(&spec.id);
        return Err(Failed::Attestation(error));
    }
    created
        .timings
        .push(("attest".to_owned(), u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)));
    let started = pending
        .iter()
        .try_for_each(|socket| client.attach_socket(&spec.id, socket.as_fd()))
        .and_then(|()| client.start(&spec.id));
    match started {
        Ok(()) => Ok((created.pid, created.timings)),
        Err(error) => {
            // The reason is worth more than a failure to clean up, which is tried again.
            let _ = client.delete(&spec.id);
            Err(Failed::Keeper(error))
        }
    }
}

/// Makes the keeper forget a container; one it does not know is fine. Answers whether it has freed its cgroup: of one
/// it does not know, another keeper may have left some.
fn forget(client: &mut Client, id: &str) -> Result<bool, ClientError> {
    match client.delete(id) {
        Err(ClientError::Refused { kind: ErrorKind::NotFound, .. }) => Ok(false),
        other => other.map(|()| true),
    }
}

/// What shells and Docker exit with for a container that could not be started.
fn exit_code(error: &ClientError) -> i32 {
    match error {
        ClientError::Refused { kind: ErrorKind::NoProgram, .. } => 127,
        ClientError::Refused { kind: ErrorKind::NotExecutable, .. } => 126,
        _ => 125,
    }
}
