//! `ctl dev` on a host, and `ctl` beside it: the product as a user has it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::host::Host;
use crate::{programs, wait};

/// A running `ctl dev`.
#[derive(Debug)]
pub struct Dev<'h> {
    host: &'h Host,
    root: PathBuf,
    child: Child,
    /// What it wrote to stderr, as lines.
    notes: mpsc::Receiver<String>,
}

/// A `ctl` that uses the contexts below `root`, on `host`.
pub fn ctl(host: &Host, root: &Path, arguments: &[&str]) -> Command {
    let mut command = host.command(programs::ours("ctl"));
    command
        .args(arguments)
        .env("ROADSTEAD_CONFIG", root.join("config.json"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// The arguments that create the service `web`: tasks of the embedded image, published on port 8080.
pub fn create_web(replicas: &str) -> [&str; 9] {
    ["service", "create", "--name", "web", "--replicas", replicas, "--publish", "8080:80", "roadstead/hello"]
}

impl<'h> Dev<'h> {
    /// Starts it with its data below `root` and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it is not ready within 10 seconds, which is what it promises.
    pub fn start(host: &'h Host, root: &Path, arguments: &[&str]) -> Self {
        Self::start_with(host, root, arguments, &[])
    }

    /// As [`Dev::start`], with variables in the environment of all its programs.
    ///
    /// # Panics
    /// When it is not ready within 10 seconds, which is what it promises.
    pub fn start_with(host: &'h Host, root: &Path, arguments: &[&str], variables: &[(&str, String)]) -> Self {
        let mut dev = Self::spawn_with(host, root, arguments, variables);
        let said = dev.wait_for_note("ready");
        assert!(said.is_ok(), "ctl dev is not ready: {}", said.unwrap_err());
        dev
    }

    /// Starts it and does not wait.
    ///
    /// # Panics
    /// When the program is not there.
    pub fn spawn(host: &'h Host, root: &Path, arguments: &[&str]) -> Self {
        Self::spawn_with(host, root, arguments, &[])
    }

    fn spawn_with(host: &'h Host, root: &Path, arguments: &[&str], variables: &[(&str, String)]) -> Self {
        let data = root.join("data").display().to_string();
        let line = [&["dev", "--data-dir", &data], arguments].concat();
        let mut command = ctl(host, root, &line);
        // What tests find on the host afterwards is a container's or nobody's.
        command.env("ROADSTEAD_NETWORK_POOL", "0");
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("nsenter starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, notes) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { host, root: root.to_owned(), child, notes }
    }

    /// Waits for a line on stderr that contains `text`.
    ///
    /// # Errors
    /// With all lines so far, when the program ends or 12 seconds pass.
    pub fn wait_for_note(&mut self, text: &str) -> Result<String, String> {
        let mut seen = Vec::new();
        while let Ok(line) = self.notes.recv_timeout(Duration::from_secs(12)) {
            if line.contains(text) {
                return Ok(line);
            }
            seen.push(line);
        }
        Err(seen.join("\n"))
    }

    /// Runs `ctl` with arguments and answers its output.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn try_ctl(&self, arguments: &[&str]) -> Output {
        programs::output(&mut ctl(self.host, &self.root, arguments))
    }

    /// Runs `ctl`, which must succeed, and answers its stdout.
    ///
    /// # Panics
    /// When it fails, with all that it said.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> String {
        programs::succeed(&mut ctl(self.host, &self.root, arguments))
    }

    /// Runs `ctl --output json` and parses what it printed.
    ///
    /// # Panics
    /// When it fails or prints no JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.ctl(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{arguments:?} printed no JSON ({error}): {text}"))
    }

    /// The tasks of a service that are wanted running and do.
    ///
    /// # Panics
    /// When the service can't be listed.
    #[track_caller]
    pub fn running(&self, service: &str) -> Vec<serde_json::Value> {
        let tasks = self.json(&["service", "ps", service]);
        let running =
            |task: &&serde_json::Value| task["state"] == "running" && task["desired_state"] == "running";
        tasks.as_array().map(|tasks| tasks.iter().filter(running).cloned().collect()).unwrap_or_default()
    }

    /// Asks `url` from this host.
    ///
    /// # Errors
    /// With curl's words.
    pub fn curl(&self, url: &str) -> Result<String, String> {
        let output = programs::output(self.host.command("curl").args(["-sS", "--max-time", "5", url]));
        if output.status.success() { Ok(programs::said(&output)) } else { Err(programs::said(&output)) }
    }

    /// The process id of a program of this cluster.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn pid_of(&self, program: &str, argument: &str) -> u32 {
        let found = processes_of(&self.root).into_iter().find(|(_, line)| {
            line.first().is_some_and(|first| first.ends_with(program))
                && line.iter().any(|word| word == argument)
        });
        found.unwrap_or_else(|| panic!("{program} {argument} does not run")).0
    }

    /// The directory that holds everything of this cluster.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Ends it as Ctrl-C does and waits for its end.
    ///
    /// # Panics
    /// When it does not end within 40 seconds, or leaves a process.
    pub fn stop(&mut self) {
        kill(self.child.id(), "INT");
        wait::until("ctl dev ends after Ctrl-C", Duration::from_secs(40), || match self.child.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let left = processes_of(&self.root);
        assert!(left.is_empty(), "ctl dev left {left:?}");
    }
}

impl Drop for Dev<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            if std::thread::panicking() {
                kill(self.child.id(), "INT");
                let _ = self.child.wait();
            } else {
                self.stop();
            }
        }
    }
}

/// Sends a signal by name.
pub fn kill(pid: u32, signal: &str) {
    let _ = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).output();
}

/// The programs of the cluster whose data lies below `root`, with their command lines.
pub fn processes_of(root: &Path) -> Vec<(u32, Vec<String>)> {
    let data = root.join("data").display().to_string();
    processes().filter(|(_, line)| line.iter().any(|word| word.contains(&data))).collect()
}

/// All processes with their command lines.
pub fn processes() -> impl Iterator<Item = (u32, Vec<String>)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        Some((pid, words.filter(|word| !word.is_empty()).collect()))
    })
}
