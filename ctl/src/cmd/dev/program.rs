//! A program that `ctl dev` started: its log, its end, and what it said last.
//!
//! Each runs in its own process group, so that Ctrl-C reaches only `ctl`, which
//! then stops them in order. They watch the pipe on their standard input: when
//! `ctl` dies, however it dies, the pipe ends and they stop by themselves.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, ChildStdin, Command};

use super::layout::Layout;
use crate::error::{CommandError, Kind};

/// Stopping all containers takes their grace period, 10 seconds, at most.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// `timeout` and some shells deliver one Ctrl-C twice; it is impatience only when it comes later.
const SAME_WISH: Duration = Duration::from_secs(1);
const LAST_LINES: usize = 5;
/// What ends sooner than this after its start would end again.
const HEALTHY: Duration = Duration::from_secs(5);

/// A running program.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    arguments: Vec<String>,
    log: PathBuf,
    log_start: u64,
    started: Instant,
    child: Child,
    lifeline: Option<ChildStdin>,
}

impl Program {
    /// Starts a program that lies beside this one, or on the PATH.
    ///
    /// # Errors
    /// When it is not there or can't be executed.
    pub(super) fn spawn(
        layout: &Layout,
        name: &'static str,
        arguments: Vec<String>,
    ) -> Result<Self, CommandError> {
        let log = layout.logs().join(format!("{name}.log"));
        let (mut child, log_start) = start(name, &arguments, &log)?;
        let lifeline = child.stdin.take();
        Ok(Self { name, arguments, log, log_start, started: Instant::now(), child, lifeline })
    }

    /// Starts it again after it [`ended`](Self::ended); the containers of an agent run on meanwhile.
    ///
    /// # Errors
    /// With why it ended, when that was right after its start; when it can't be executed any more.
    pub(super) fn revive(&mut self, ended: CommandError) -> Result<(), CommandError> {
        if self.started.elapsed() < HEALTHY {
            return Err(ended);
        }
        crate::output::note(&format!("{ended}; starting it again"));
        let (child, log_start) = start(self.name, &self.arguments, &self.log)?;
        (self.child, self.log_start, self.started) = (child, log_start, Instant::now());
        self.lifeline = self.child.stdin.take();
        Ok(())
    }

    /// What is wrong, if it has ended although nobody asked it to.
    pub(super) fn failure(&mut self) -> Option<CommandError> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(self.explain(status))
    }

    /// Waits for an end that nobody asked for.
    pub(super) async fn ended(&mut self) -> CommandError {
        match self.child.wait().await {
            Ok(status) => self.explain(status),
            Err(error) => CommandError::internal(format!("cannot wait for the {}: {error}", self.name)),
        }
    }

    fn explain(&self, status: ExitStatus) -> CommandError {
        let mut error = CommandError::new(Kind::Environment, format!("the {} ended: {status}", self.name));
        for line in self.last_lines() {
            error = error.hint(line);
        }
        error.hint(format!("whole log: {}", self.log.display()))
    }

    /// What is wrong when it runs, but is not ready in time.
    pub(super) fn late(&self, cause: &CommandError) -> CommandError {
        let mut error =
            CommandError::new(Kind::Environment, format!("the {} is not ready: {cause}", self.name));
        for line in self.last_lines() {
            error = error.hint(line);
        }
        error.hint(format!("whole log: {}", self.log.display()))
    }

    fn last_lines(&self) -> Vec<String> {
        let text = read_from(&self.log, self.log_start).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(|line| (*line).to_owned()).collect()
    }

    /// Asks it to end, and waits; a second Ctrl-C or too long a wait kills it.
    pub(super) async fn stop(&mut self) {
        drop(self.lifeline.take());
        tokio::select! {
            _ = self.child.wait() => return,
            () = tokio::time::sleep(STOP_WITHIN) => {}
            () = impatience() => {}
        }
        crate::output::note(&format!("the {} does not end; killing it", self.name));
        // It may have ended in this very moment.
        let _ = self.child.kill().await;
    }
}

/// Waits for a Ctrl-C that is not the one that began the end.
async fn impatience() {
    tokio::time::sleep(SAME_WISH).await;
    // Where signals cannot be heard, nobody can be impatient.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The program that lies beside this one or on the PATH, and where its part of the log begins.
fn start(name: &str, arguments: &[String], log: &Path) -> Result<(Child, u64), CommandError> {
    let program = locate(name);
    let failed = |error: std::io::Error| {
        CommandError::new(Kind::Environment, format!("cannot start {}: {error}", program.display()))
            .hint("build all programs:  make build")
    };
    let file = OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
    let log_start = file.metadata().map_err(failed)?.len();
    let child = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::from(file.try_clone().map_err(failed)?))
        .stderr(Stdio::from(file))
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    Ok((child, log_start))
}

fn locate(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|dir| dir.join(name)));
    match beside {
        Some(path) if path.is_file() => path,
        _ => Path::new(name).to_owned(),
    }
}

fn read_from(path: &Path, start: u64) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(1 << 20).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
