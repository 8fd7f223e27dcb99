//! From the command line to the loop: executes itself anew where nobody can write to it, leaves the agent's session, takes the
//! lock that makes it the only keeper of its data directory, moves into its own
//! mount namespace, listens, and says `ready`.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use super::journal::Journal;
use super::mounts;
use super::options::{Options, OptionsError};
use super::server::Server;
use crate::process::{CreateError, Staging};

/// Why the keeper could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("another keeper holds {0}; it must end before a new one can start")]
    Locked(String),
    #[error(transparent)]
    Staging(#[from] CreateError),
    #[error("{0}: {1}")]
    Step(String, #[source] io::Error),
}

/// One line on standard error.
pub(crate) fn complain(error: &KeeperError) {
    // Nobody left to tell when this fails.
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("keeper: {error}\n").as_bytes());
}

/// A container's process is a copy of the keeper until it executes its program, so what `/proc/PID/exe` shows there
/// must not be writable, not even when no keeper runs any more that would keep its file from being written to.
pub(crate) fn seal() -> Result<(), KeeperError> {
    crate::oci::sealed_again().map_err(step("execute itself from a read-only mount (are you root?)"))?;
    // Executed by descriptor it is called by that one's number on kernels before 6.14. Only how it is shown.
    let _ = rustix::thread::set_name(c"agent");
    Ok(())
}

pub(crate) fn run(options: &Options) -> Result<(), KeeperError> {
    leave_session().map_err(step("prepare the process"))?;
    private_dir(&options.data).map_err(step(format!("create {}", options.data.display())))?;
    let data = open_dir(&options.data).map_err(step(format!("open {}", options.data.display())))?;
    let _lock = lock(&data, &options.data)?;
    let mut keep = vec![options.data.as_path(), options.socket.as_path()];
    keep.extend(options.keep_mounts.iter().map(std::path::PathBuf::as_path));
    let pruned = mounts::enter_private(&keep).map_err(step("make a mount namespace (are you root?)"))?;
    let staging = Staging::open(&options.data.join("staging"))?;
    let listener = listen(&options.socket)?;
    let mut journal = Journal::open(data).map_err(step("open keeper.log"))?;
    journal.line(&format!("keeper {} listens, {pruned} mounts pruned", std::process::id()), None);
    let server = Server::new(listener, staging, journal).map_err(step("prepare epoll"))?;
    server.ready().map_err(step("let go of the terminal"))?;
    server.run().map_err(step("wait for events"))?;
    // Absent is what is wanted.
    let _ = rustix::fs::unlink(&options.socket);
    Ok(())
}

fn step(what: impl Into<String>) -> impl FnOnce(io::Error) -> KeeperError {
    let what = what.into();
    move |error| KeeperError::Step(what, error)
}

/// Out of the agent's process group and terminal, deaf to what a terminal or a
/// service manager sends to groups, a parent for orphans, and able to hold many
/// descriptors.
fn leave_session() -> io::Result<()> {
    match rustix::process::setsid() {
        // It leads a group already: started by hand, or by an agent that did this for it.
        Ok(_) | Err(Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let mut deaf = SigSet::empty();
    for signal in
        [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGTSTP, Signal::SIGPIPE]
    {
        deaf.add(signal);
    }
    deaf.thread_block()?;
    nix::sys::prctl::set_child_subreaper(true)?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::chdir("/")?;
    raise_descriptor_limit();
    Ok(())
}

/// As many descriptors as the kernel allows. Containers get limits of their own,
/// which cannot be above ours. With the limit as it was, fewer containers fit;
/// that is not worth failing for.
fn raise_descriptor_limit() {
    let most = super::exit::read_small("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
    let set = |limit| rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit });
    if most.is_none() || set(most).is_err() {
        let _ = set(rustix::process::getrlimit(Resource::Nofile).maximum);
    }
}

fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Held for the life of the process.
fn lock(data: &OwnedFd, path: &Path) -> Result<OwnedFd, KeeperError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let name = path.join("keeper.lock").display().to_string();
    let file = rustix::fs::openat(data, "keeper.lock", flags, Mode::from_raw_mode(0o600))
        .map_err(|error| step(format!("open {name}"))(error.into()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(KeeperError::Locked(name)),
        Err(error) => Err(step(format!("lock {name}"))(error.into())),
    }
}

/// The umask makes the socket its owner's only. Whoever holds the lock may
/// replace a socket that a dead keeper left.
fn listen(socket: &Path) -> Result<OwnedFd, KeeperError> {
    if let Some(dir) = socket.parent() {
        private_dir(dir).map_err(step(format!("create {}", dir.display())))?;
    }
    match rustix::fs::unlink(socket) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(step(format!("remove {}", socket.display()))(error.into())),
    }
    let listener = UnixListener::bind(socket).map_err(step(format!("listen on {}", socket.display())))?;
    Ok(listener.into())
}

impl Server {
    /// Tells whoever started us, and lets go of its descriptors.
    fn ready(&self) -> io::Result<()> {
        // A starter that has gone is no reason not to run.
        let _ = rustix::io::write(rustix::stdio::stdout(), b"ready\n");
        let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        self.journal().become_stderr()
    }
}
