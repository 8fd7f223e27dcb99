//! A user's side of a program's terminal or pipes, whatever program that is:
//! input, window sizes and signals go up, output comes down, and the detach
//! keys take the user away.

use std::pin::Pin;

use proto::v1::WindowSize;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Status};

use super::detach::{Keys, Typed, Watcher};
use crate::error::CommandError;
use crate::{output, terminal};

/// So long is waited for the word that all input has arrived.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// What the user's side offers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Options {
    /// Send standard input.
    pub(super) stdin: bool,
    /// The program has a terminal.
    pub(super) terminal: bool,
    /// Keep signals to this side instead of passing them on.
    pub(super) keep_signals: bool,
    /// What takes the user away from a terminal.
    pub(super) keys: Keys,
    /// Do not show what it writes to standard output.
    pub(super) mute_stdout: bool,
    /// Do not show what it writes to standard error.
    pub(super) mute_stderr: bool,
}

impl Options {
    /// Whether this side has nothing left to do once its input has ended.
    fn only_sends(&self) -> bool {
        self.stdin && self.mute_stdout && self.mute_stderr
    }

    fn shows(&self, stderr: bool) -> bool {
        !(if stderr { self.mute_stderr } else { self.mute_stdout })
    }
}

/// To the program.
#[derive(Debug)]
pub(super) enum Up {
    Stdin(Vec<u8>),
    Resize(WindowSize),
    StdinClosed,
}

/// From the program.
#[derive(Debug)]
pub(super) enum Down {
    Output {
        data: Vec<u8>,
        stderr: bool,
    },
    /// All output has come.
    Exited(i32),
    /// Nothing for the user.
    Nothing,
}

/// What comes from the program.
pub(super) type Downward = Pin<Box<dyn Stream<Item = Result<Down, Status>> + Send>>;

/// A connection to a program.
pub(super) struct Line {
    pub(super) up: mpsc::Sender<Up>,
    pub(super) down: Downward,
}

/// Why data is no longer passed.
#[derive(Debug)]
pub(super) enum End {
    /// All output has come.
    Output,
    /// And this is the exit code.
    Exited(i32),
    /// The agent is gone.
    Agent,
    /// Nobody reads what comes. The program lives on, as in Docker.
    Reader,
    /// The user left; the program goes on.
    Left,
}

/// The user's input.
pub(super) struct Input {
    source: Option<mpsc::Receiver<Vec<u8>>>,
    watcher: Option<Watcher>,
}

impl Input {
    pub(super) fn new(options: Options) -> Self {
        let source = options.stdin.then(read_stdin);
        Self { source, watcher: options.terminal.then(|| Watcher::new(options.keys)) }
    }

    /// The next of it; waits forever where there is none.
    async fn next(&mut self) -> Typed {
        let data = match &mut self.source {
            Some(source) => source.recv().await,
            None => std::future::pending().await,
        };
        match (data, &mut self.watcher) {
            (None, _) => {
                self.source = None;
                Typed::Input(Vec::new())
            }
            (Some(data), Some(watcher)) => watcher.typed(&data),
            (Some(data), None) => Typed::Input(data),
        }
    }
}

/// Passes data both ways until one side has ended; `kill` passes a signal on.
pub(super) async fn relay(
    line: &mut Line,
    input: &mut Input,
    options: Options,
    kill: impl AsyncFn(i32),
) -> Result<End, CommandError> {
    let signals = |kind| {
        signal(kind).map_err(|error| CommandError::internal(format!("cannot wait for signals: {error}")))
    };
    let (mut resized, mut interrupted, mut ended) = (
        signals(SignalKind::window_change())?,
        signals(SignalKind::interrupt())?,
        signals(SignalKind::terminate())?,
    );
    if options.terminal {
        send_size(&line.up).await;
    }
    let mut leaves_at = None;
    loop {
        tokio::select! {
            down = line.down.next() => match down {
                Some(Ok(Down::Output { data, .. })) if data.is_empty() && leaves_at.is_some() => {
                    return Ok(End::Left);
                }
                Some(Ok(Down::Output { data, stderr })) => {
                    if options.shows(stderr) && output::bytes(&data, stderr).is_err() {
                        return Ok(End::Reader);
                    }
                }
                Some(Ok(Down::Exited(code))) => return Ok(End::Exited(code)),
                Some(Ok(Down::Nothing)) => {}
                None => return Ok(End::Output),
                Some(Err(status)) if is_gone(&status) => return Ok(End::Agent),
                Some(Err(status)) => return Err(status.into()),
            },
            typed = input.next() => match typed {
                // A failed send means that the stream is gone; `down` says so too.
                Typed::Input(data) if data.is_empty() && input.source.is_none() => {
                    let _ = line.up.send(Up::StdinClosed).await;
                    if options.only_sends() {
                        // What is on its way would be lost; the agent says when nothing is.
                        leaves_at = Some(Instant::now() + CONFIRMATION);
                    }
                }
                Typed::Input(data) => drop(line.up.send(Up::Stdin(data)).await),
                Typed::Leave(data) => {
                    let _ = line.up.send(Up::Stdin(data)).await;
                    return Ok(End::Left);
                }
            },
            () = until(leaves_at) => return Ok(End::Left),
            _ = resized.recv(), if options.terminal => send_size(&line.up).await,
            _ = interrupted.recv(), if !options.terminal => {
                if options.keep_signals { return Ok(End::Left) }
                kill(2).await;
            }
            _ = ended.recv() => {
                if options.keep_signals { return Ok(End::Left) }
                kill(15).await;
            }
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
            if sender.send(buffer[..count].to_vec()).await.is_err() {
                break;
            }
        }
    });
    receiver
}

async fn send_size(up: &mpsc::Sender<Up>) {
    if let Some((rows, columns)) = terminal::size() {
        let _ = up.send(Up::Resize(WindowSize { rows: rows.into(), columns: columns.into() })).await;
    }
}

/// Whether a status means that the agent itself went away.
pub(super) fn is_gone(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown)
}
