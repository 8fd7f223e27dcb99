//! Starting, adopting and talking to the keeper. Its client is synchronous, so
//! every request runs on a blocking thread with a connection from a small pool.

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agent_runtime::keeper::client::{Client, ClientError, Event};
use agent_runtime::keeper::protocol::VERSION;
use tokio::sync::mpsc;

use crate::{EngineConfig, EngineError};

/// Connections kept for later requests.
const POOL: usize = 8;

/// A keeper that is lost is replaced within this time; requests wait so long for the next one.
const REPLACED: Duration = Duration::from_secs(3);

/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(20);

/// Events that may wait for the engine.
const EVENTS: usize = 1024;

/// The keeper's `main`: what a program runs when its first argument is
/// `keeper`, before it has started any thread.
pub fn keeper_main() -> std::process::ExitCode {
    agent_runtime::keeper::main(std::env::args_os().skip(2).collect())
}

/// The engine's end of the keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    program: PathBuf,
    socket: PathBuf,
    data: PathBuf,
    pid: AtomicI32,
    /// Whether the keeper that runs was started here.
    ours: AtomicBool,
    pool: Mutex<Vec<Client>>,
    lost: Arc<Loss>,
    /// Shutting it down ends the thread that reads events.
    events: Mutex<Option<UnixStream>>,
}

impl Keeper {
    pub(crate) fn new(config: &EngineConfig) -> Keeper {
        Keeper {
            program: config.keeper_program.clone(),
            socket: config.keeper_socket(),
            data: config.data_dir.clone(),
            pid: AtomicI32::new(0),
            ours: AtomicBool::new(false),
            pool: Mutex::default(),
            lost: Arc::default(),
            events: Mutex::default(),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Adopts the keeper that listens, or starts one, and follows its events.
    /// The first event is a snapshot; the channel ends when the keeper is lost.
    pub(crate) async fn adopt_or_start(&self) -> Result<mpsc::Receiver<Event>, EngineError> {
        lock(&self.pool).clear();
        let client = match self.connect().await? {
            Some(client) => client,
            None => {
                self.spawn().await?;
                self.connect().await?.ok_or_else(|| {
                    EngineError::Keeper(format!(
                        "it was started, but nobody listens on {}",
                        self.socket.display()
                    ))
                })?
            }
        };
        self.pid.store(client.pid(), Ordering::Relaxed);
        *lock(&self.lost.since) = None;
        // Requests that ended in the meantime may have left connections to the one that was lost.
        lock(&self.pool).retain(|pooled| pooled.pid() == client.pid());
        self.follow(client).await
    }

    /// A connection; `None` when nobody listens.
    async fn connect(&self) -> Result<Option<Client>, EngineError> {
        let socket = self.socket.clone();
        let connected = tokio::task::spawn_blocking(move || Client::connect(&socket));
        match connected.await.map_err(|_| EngineError::Closed)? {
            Ok(client) => Ok(Some(client)),
            Err(ClientError::Connect(_)) => Ok(None),
            Err(ClientError::Version { pid, theirs }) => {
                Err(EngineError::KeeperVersion { pid, theirs, ours: VERSION })
            }
            Err(error) => Err(EngineError::Keeper(error.to_string())),
        }
    }

    /// Starts a keeper and waits until it listens. It leaves our session and
    /// outlives us; while we live, tokio reaps it should it end.
    async fn spawn(&self) -> Result<(), EngineError> {
        let failed = |what: &str, error: std::io::Error| EngineError::Keeper(format!("{what}: {error}"));
        let mut child = tokio::process::Command::new(&self.program)
            .arg("keeper")
            .arg("--socket")
            .arg(&self.socket)
            .arg("--data")
            .arg(&self.data)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&format!("start {}", self.program.display()), error))?;
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            // The end of its output is the end of its start, good or bad.
            let mut stdout = tokio::io::AsyncReadExt::take(stdout, 64);
            tokio::io::AsyncReadExt::read_to_end(&mut stdout, &mut answer)
                .await
                .map_err(|error| failed("wait for it to start", error))?;
        }
        if answer == b"ready\n" {
            self.ours.store(true, Ordering::Relaxed);
            return Ok(());
        }
        let stderr = child.stderr.take().and_then(|stderr| stderr.into_owned_fd().ok());
        // It has ended; what it said is in the pipe.
        let _ = child.wait().await;
        let mut said = String::new();
        if let Some(stderr) = stderr {
            let _ = std::fs::File::from(stderr).take(4096).read_to_string(&mut said);
        }
        let said = said.trim().trim_start_matches("keeper: ");
        let said = if said.is_empty() { "it ended without a word" } else { said };
        Err(EngineError::Keeper(format!("it did not start: {said}")))
    }

    async fn follow(&self, client: Client) -> Result<mpsc::Receiver<Event>, EngineError> {
        let failed =
            |error: &dyn std::fmt::Display| EngineError::Keeper(format!("follow its events: {error}"));
        let reader =
            tokio::task::spawn_blocking(move || client.events()).await.map_err(|_| EngineError::Closed)?;
        let mut reader = reader.map_err(|error| failed(&error))?;
        let connection = reader.connection().map_err(|error| failed(&error))?;
        *lock(&self.events) = Some(connection);
        let (sender, receiver) = mpsc::channel(EVENTS);
        std::thread::Builder::new()
            .name("keeper-events".to_owned())
            .spawn(move || {
                while let Ok(Some(event)) = reader.next_event() {
                    if sender.blocking_send(event).is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| failed(&error))?;
        Ok(receiver)
    }

    /// Lets go of the keeper; it goes on.
    pub(crate) fn leave(&self) {
        self.lost.for_good.store(true, Ordering::Relaxed);
        if let Some(connection) = lock(&self.events).take() {
            // Gone already is as good.
            let _ = connection.shutdown(Shutdown::Both);
        }
        lock(&self.pool).clear();
    }

    /// Runs requests on one connection. The outer error is the engine's or the
    /// connection's, the inner one the request's.
    pub(crate) async fn run<T: Send + 'static, E: Send + 'static>(
        &self,
        traceparent: Option<String>,
        requests: impl FnOnce(&mut Client) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, EngineError> {
        let pooled = lock(&self.pool).pop();
        let (socket, lost) = (self.socket.clone(), Arc::clone(&self.lost));
        let work = move || {
            let mut client = match pooled {
                Some(client) => client,
                None => lost.connect(&socket)?,
            };
            client.set_traceparent(traceparent);
            let result = requests(&mut client);
            Ok::<_, ClientError>((client, result))
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Closed)?;
        let (client, result) = done.map_err(|error| EngineError::Keeper(error.to_string()))?;
        // After a failure it may be out of step; a fresh one costs little.
        if result.is_ok() {
            let mut pool = lock(&self.pool);
            if pool.len() < POOL && client.pid() == self.pid() {
                pool.push(client);
            }
        }
        Ok(result)
    }

    /// Ends a keeper that was started here and holds nothing that lives: nobody
    /// would expect one where the engine could not run.
    pub(crate) async fn end_if_useless(&self) {
        if !self.ours.load(Ordering::Relaxed) {
            return;
        }
        let Ok(Some(client)) = self.connect().await else {
            return;
        };
        match tokio::task::spawn_blocking(move || client.shutdown(false)).await {
            // It refuses when something lives in it.
            Ok(Ok(()) | Err(ClientError::Refused { .. })) => {}
            failed => tracing::warn!(?failed, "a keeper that nobody needs goes on"),
        }
    }

    /// Ends the keeper and its containers.
    pub(crate) async fn end(&self) -> Result<(), EngineError> {
        self.lost.for_good.store(true, Ordering::Relaxed);
        let Some(client) = self.connect().await? else {
            return Ok(());
        };
        let ended = tokio::task::spawn_blocking(move || client.shutdown(true))
            .await
            .map_err(|_| EngineError::Closed)?;
        self.leave();
        ended.map_err(|error| EngineError::Keeper(error.to_string()))
    }
}

/// What is known of the absence of a keeper.
#[derive(Debug, Default)]
struct Loss {
    /// When a connection was first refused since there was one.
    since: Mutex<Option<Instant>>,
    /// No other will follow.
    for_good: AtomicBool,
}

impl Loss {
    /// A connection, for which it is waited while a lost keeper is replaced: nothing has been asked of it yet.
    fn connect(&self, socket: &Path) -> Result<Client, ClientError> {
        loop {
            match Client::connect(socket) {
                Err(ClientError::Connect(_)) if self.may_end() => std::thread::sleep(RETRY),
                done => return done,
            }
        }
    }

    fn may_end(&self) -> bool {
        let since = *lock(&self.since).get_or_insert_with(Instant::now);
        since.elapsed() < REPLACED && !self.for_good.load(Ordering::Relaxed)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The data behind these locks is valid between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
