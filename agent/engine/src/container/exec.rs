//! Further processes in running containers. Each belongs to the keeper as the container's first one does: it goes
//! on when the agent ends, and an agent that comes back finds it by its id. Ends are remembered for a while, for
//! who comes back to ask.
//!
//! Deliberately absent: a prepared process that does not run yet, which nobody needs who can attach from the
//! first byte.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_runtime::capabilities::CapSet;
use agent_runtime::container::{ContainerSpec, ExecSpec, SeccompPolicy};
use agent_runtime::keeper::client::{Client, ClientError};
use agent_runtime::keeper::protocol::ErrorKind;
use agent_runtime::keeper::{ExecStatus, Exit};
use oci_spec::runtime::{LinuxCapabilities, Process, User};
use tokio::sync::watch;

use super::admit::Further;
use super::attach::Attachment;
use super::create::{blocking, now_ms};
use super::record::{Entry, Record, short};
use super::spec::{self, Place};
use super::{ContainerEventKind, ContainerState, WindowSize, identity, user};
use crate::EngineError;
use crate::engine::Inner;

/// So many ends are remembered.
const MAX_ENDED: usize = 512;

/// The code of a process that died with its keeper: nobody saw its own.
const LOST: i32 = 137;

/// A process to be run in a running container. `Default` with a command is enough.
#[derive(Debug, Clone, Default)]
pub struct ExecConfig {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `NAME=value`, over the container's.
    pub env: Vec<String>,
    /// `user[:group]`, names of the container or numbers; empty: the container's.
    pub user: String,
    /// Absolute path in the container; empty: the container's.
    pub working_dir: String,
    /// Every capability, within the container's user namespace, and no system call filter.
    pub privileged: bool,
    /// Give it a terminal of its own.
    pub terminal: bool,
    /// Give it an input. With a terminal there always is one.
    pub open_stdin: bool,
    /// First size of the terminal.
    pub window: Option<WindowSize>,
    /// Read its output and write its input; else they lead nowhere.
    pub attach: bool,
    /// Tell nobody that it was made and has ended: the engine's own, such as health checks.
    pub quiet: bool,
}

/// A further process as it is now.
#[derive(Debug, Clone)]
pub struct ExecInfo {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Id of its container.
    pub container: String,
    /// Its process, in the host's numbering; 0 until it runs.
    pub pid: i32,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
}

/// The further processes an engine knows.
#[derive(Debug, Default)]
pub(crate) struct Execs(Mutex<BTreeMap<String, Arc<Exec>>>);

#[derive(Debug)]
pub(crate) struct Exec {
    id: String,
    container: String,
    terminal: bool,
    quiet: bool,
    state: watch::Sender<(i32, Option<Exit>)>,
}

impl Exec {
    fn info(&self) -> ExecInfo {
        let (pid, exit) = self.state.borrow().clone();
        ExecInfo { id: self.id.clone(), container: self.container.clone(), pid, exit }
    }
}

impl Execs {
    /// Data behind this lock is valid between any two statements.
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Exec>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: &str) -> Result<Arc<Exec>, EngineError> {
        self.all().get(id).cloned().ok_or_else(|| EngineError::NoSuchExec(short(id)))
    }

    fn add(&self, exec: Exec) -> Arc<Exec> {
        let exec = Arc::new(exec);
        let mut all = self.all();
        let ended = |one: &&Arc<Exec>| one.state.borrow().1.is_some();
        if all.values().filter(ended).count() >= MAX_ENDED {
            let at = |one: &Arc<Exec>| one.state.borrow().1.as_ref().map(|exit| exit.at_ms);
            let oldest = all.values().filter(ended).min_by_key(|one| at(one)).map(|one| one.id.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        all.insert(exec.id.clone(), Arc::clone(&exec));
        exec
    }

    /// Takes over what the keeper says: what it does not know any more was lost with another keeper.
    pub(crate) fn reconcile(&self, held: Vec<ExecStatus>) {
        let lost: Vec<Arc<Exec>> = {
            let all = self.all();
            let is_held = |one: &&Arc<Exec>| !held.iter().any(|status| status.id == one.id);
            all.values().filter(is_held).cloned().collect()
        };
        for exec in lost.into_iter().filter(|exec| exec.state.borrow().1.is_none()) {
            let exit = Exit { code: LOST, signal: Some(9), oom_killed: false, at_ms: now_ms() };
            exec.state.send_modify(|state| state.1 = Some(exit));
        }
        for status in held {
            let ExecStatus { id, container, pid, terminal, exit } = status;
            let known = self.all().get(&id).cloned();
            match known {
                Some(exec) => {
                    exec.state.send_replace((pid, exit));
                }
                None => {
                    let state = watch::Sender::new((pid, exit));
                    self.add(Exec { id, container, terminal, quiet: true, state });
                }
            }
        }
    }

    fn forget(&self, id: &str) {
        self.all().remove(id);
    }
}

impl Inner {
    pub(crate) async fn exec(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        config: ExecConfig,
    ) -> Result<(ExecInfo, Option<Attachment>), EngineError> {
        check(&config)?;
        let id = identity::new_id().map_err(|error| EngineError::file("read", "/dev/urandom", error))?;
        let record = self.running_record(entry).await?;
        let (container, spec) = self.exec_spec(record, &id, &config).await?;
        let (ours, theirs) = match config.attach {
            true => UnixStream::pair()
                .map(|(ours, theirs)| (Some(ours), Some(theirs)))
                .map_err(|error| EngineError::file("make", "a pair of sockets", error))?,
            false => (None, None),
        };
        let attachment = ours.map(|ours| Attachment::of(ours, config.terminal)).transpose()?;
        let command = config.command.join(" ");
        if !config.quiet {
            let (exec, command) = (id.clone(), command.clone());
            self.tell(entry, ContainerEventKind::ExecCreated { exec, command });
        }
        // Known before it runs: its end may be told before the answer is here.
        let exec = self.execs.add(Exec {
            id: id.clone(),
            container: entry.id.clone(),
            terminal: config.terminal,
            quiet: config.quiet,
            state: watch::Sender::new((0, None)),
        });
        let further = Further { spec, container, socket: theirs };
        let pid = self.admit(entry, further).await.inspect_err(|_| self.execs.forget(&id))?;
        if !config.quiet {
            self.tell(entry, ContainerEventKind::ExecStarted { exec: id.clone(), command });
        }
        let mut ended = None;
        exec.state.send_modify(|state| {
            state.0 = pid;
            ended = state.1.as_ref().map(|exit| exit.code);
        });
        // It had ended before its start was told.
        if let Some(code) = ended.filter(|_| !config.quiet) {
            self.tell(entry, ContainerEventKind::ExecEnded { exec: id, code });
        }
        Ok((exec.info(), attachment.map(|attachment| self.noticing(attachment, &exec))))
    }

    /// Has it told when somebody leaves a further process that goes on.
    fn noticing(self: &Arc<Self>, attachment: Attachment, exec: &Arc<Exec>) -> Attachment {
        let (this, exec) = (Arc::downgrade(self), Arc::clone(exec));
        attachment.when_left(move || {
            let Some(this) = this.upgrade().filter(|_| !exec.quiet && exec.state.borrow().1.is_none()) else {
                return;
            };
            let entry = this.entries().get(&exec.container).cloned();
            if let Some(entry) = entry {
                this.tell(&entry, ContainerEventKind::ExecDetached { exec: exec.id.clone() });
            }
        })
    }

    /// A start that is under way is waited for.
    async fn running_record(&self, entry: &Arc<Entry>) -> Result<Record, EngineError> {
        let _work = entry.work.lock().await;
        match entry.state() {
            ContainerState::Running => Ok(entry.live().record.clone()),
            ContainerState::Paused => {
                Err(self.wrong_state(entry, "nothing runs in it before `ctl container unpause`"))
            }
            _ => Err(self.wrong_state(entry, "a process can only be run in a running one")),
        }
    }

    async fn exec_spec(
        &self,
        record: Record,
        id: &str,
        config: &ExecConfig,
    ) -> Result<(ContainerSpec, ExecSpec), EngineError> {
        let mounts = self.snapshots.prepare(&record.id, &record.layers, record.ids()).await?;
        let identity = match config.user.is_empty() {
            true => record.identity.clone(),
            false => {
                // As the container sees its accounts now: its own changes lie above the image.
                let layers = [std::slice::from_ref(&mounts.upper), &mounts.lower].concat();
                let wanted = config.user.clone();
                blocking(move || user::look_up(&layers, &wanted)).await?
            }
        };
        let place = Place {
            mounts,
            state_dir: self.config.container_dir(&record.id),
            cgroup: record.cgroup(&self.config),
        };
        // What confines the container confines the process, whatever flags that came from.
        let container = spec::build(&record, place, None)?;
        let mut process = container.oci.process().clone().unwrap_or_default();
        if !config.user.is_empty() {
            become_user(&mut process, &identity);
        }
        fill(&mut process, config);
        let size = config.window.unwrap_or(WindowSize { rows: 24, columns: 80 });
        let profile = container.oci.linux().as_ref().and_then(|linux| linux.seccomp().clone());
        let spec = ExecSpec {
            id: id.to_owned(),
            process,
            terminal: config.terminal.then_some(size),
            open_stdin: config.open_stdin,
            seccomp: if config.privileged { SeccompPolicy::Unconfined } else { container.seccomp },
            profile: profile.filter(|_| !config.privileged),
        };
        Ok((container, spec))
    }

    /// The output of a further process from now on, and its input.
    pub(crate) async fn exec_attach(self: &Arc<Self>, id: &str) -> Result<Attachment, EngineError> {
        let exec = self.execs.get(id)?;
        let (ours, theirs) =
            UnixStream::pair().map_err(|error| EngineError::file("make", "a pair of sockets", error))?;
        let attachment = Attachment::of(ours, exec.terminal)?;
        let id = id.to_owned();
        let attach = move |client: &mut Client| client.attach_socket(&id, theirs.as_fd());
        match self.keeper.run(None, attach).await? {
            // Of one that has ended there is no more output: the stream is at its end.
            Ok(()) | Err(ClientError::Refused { kind: ErrorKind::State | ErrorKind::NotFound, .. }) => {
                Ok(self.noticing(attachment, &exec))
            }
            Err(error) => Err(EngineError::Keeper(error.to_string())),
        }
    }

    pub(crate) async fn exec_wait(&self, id: &str) -> Result<Exit, EngineError> {
        let exec = self.execs.get(id)?;
        let mut state = exec.state.subscribe();
        // Only fails when it is gone, and we hold it.
        let ended = state.wait_for(|state| state.1.is_some()).await;
        ended.ok().and_then(|state| state.1.clone()).ok_or_else(|| EngineError::NoSuchExec(short(id)))
    }

    pub(crate) async fn exec_resize(&self, id: &str, size: WindowSize) -> Result<(), EngineError> {
        let id = self.execs.get(id)?.id.clone();
        self.on_exec(move |client: &mut Client| client.resize(&id, size)).await
    }

    pub(crate) async fn exec_kill(&self, id: &str, signal: i32) -> Result<(), EngineError> {
        let id = self.execs.get(id)?.id.clone();
        self.on_exec(move |client: &mut Client| client.kill(&id, signal)).await
    }

    /// Asks the keeper about a process that may just have ended, which is no failure.
    async fn on_exec(
        &self,
        ask: impl FnOnce(&mut Client) -> Result<(), ClientError> + Send + 'static,
    ) -> Result<(), EngineError> {
        match self.keeper.run(None, ask).await? {
            Ok(()) | Err(ClientError::Refused { kind: ErrorKind::State | ErrorKind::NotFound, .. }) => Ok(()),
            Err(ClientError::Refused { kind: ErrorKind::Invalid, message }) => {
                Err(EngineError::invalid("signal", message))
            }
            Err(error) => Err(EngineError::Keeper(error.to_string())),
        }
    }

    pub(crate) fn exec_info(&self, id: &str) -> Result<ExecInfo, EngineError> {
        Ok(self.execs.get(id)?.info())
    }

    /// Forgets an end that only the engine itself wanted to know.
    pub(crate) async fn exec_forget(&self, id: &str) {
        self.execs.forget(id);
        let id = id.to_owned();
        // The keeper forgets by itself in time.
        let _ = self.keeper.run(None, move |client: &mut Client| client.forget_exec(&id)).await;
    }

    /// The keeper reports an end.
    pub(crate) fn exec_ended(&self, id: &str, exit: Exit) {
        let Ok(exec) = self.execs.get(id) else { return };
        let code = exit.code;
        let mut was_told = true;
        exec.state.send_modify(|state| {
            was_told = state.0 != 0;
            state.1 = Some(exit);
        });
        let entry = self.entries().get(&exec.container).cloned();
        // Of one whose start was not told yet the end is told after that.
        if let Some(entry) = entry.filter(|_| was_told && !exec.quiet) {
            self.tell(&entry, ContainerEventKind::ExecEnded { exec: id.to_owned(), code });
        }
    }
}

fn check(config: &ExecConfig) -> Result<(), EngineError> {
    if config.command.first().is_none_or(String::is_empty) {
        return Err(EngineError::invalid("command", "say which program to run in the container"));
    }
    if let Some(bad) = config.env.iter().find(|entry| entry.starts_with('=') || !entry.contains('=')) {
        return Err(EngineError::invalid("env", format!("{bad:?} is not NAME=value")));
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        let rule = format!("{:?} is not an absolute path", config.working_dir);
        return Err(EngineError::invalid("working directory", rule));
    }
    let mut texts = config.env.iter().chain(&config.command).chain([&config.working_dir]);
    if texts.any(|text| text.contains('\0')) {
        return Err(EngineError::invalid("command", "a NUL byte cannot be part of an argument or variable"));
    }
    Ok(())
}

fn become_user(process: &mut Process, identity: &user::Identity) {
    let mut user = User::default();
    user.set_uid(identity.uid);
    user.set_gid(identity.gid);
    user.set_additional_gids(Some(identity.groups.clone()));
    process.set_user(user);
    let home = [format!("HOME={}", identity.home)];
    process.set_env(Some(spec::merge_environment(&[process.env().as_deref().unwrap_or_default(), &home])));
}

fn fill(process: &mut Process, config: &ExecConfig) {
    let term: &[String] = if config.terminal { &["TERM=xterm".to_owned()] } else { &[] };
    let inherited = process.env().clone().unwrap_or_default();
    process.set_env(Some(spec::merge_environment(&[term, &inherited, &config.env])));
    process.set_args(Some(config.command.clone()));
    process.set_terminal(Some(config.terminal));
    if !config.working_dir.is_empty() {
        process.set_cwd(config.working_dir.clone().into());
    }
    if config.privileged {
        let all = CapSet::ALL.to_oci();
        let mut capabilities = LinuxCapabilities::default();
        capabilities
            .set_bounding(Some(all.clone()))
            .set_permitted(Some(all.clone()))
            .set_effective(Some(all))
            .set_inheritable(None)
            .set_ambient(None);
        process.set_capabilities(Some(capabilities));
    }
}
