//! An agent by itself on a host, without any controller, and `ctl` beside it:
//! the container engine as its users have it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::dev::{kill, processes_of};
use crate::host::Host;
use crate::{programs, wait};

/// What an agent may take to start or to end, the grace period of its containers included.
const LIMIT: Duration = Duration::from_secs(40);

/// A running agent; its data lies in `data` below its root.
#[derive(Debug)]
pub struct Solo<'h> {
    host: &'h Host,
    root: PathBuf,
    agent: Child,
    /// What the agent takes for the name of the host's boot, when not the machine's own.
    boot: Option<String>,
    /// Further arguments of the agent.
    flags: Vec<String>,
}

impl<'h> Solo<'h> {
    /// Starts it and waits until it answers. The agent ends with the test, however that ends.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn start(host: &'h Host, root: &Path) -> Self {
        Self::start_with(host, root, &[])
    }

    /// As [`Solo::start`], with further arguments of the agent.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn start_with(host: &'h Host, root: &Path, flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let agent = spawn(host, root, None, &flags);
        let solo = Self { host, root: root.to_owned(), agent, boot: None, flags };
        solo.wait_until_it_answers();
        solo
    }

    /// As [`Solo::start`], on a host whose boot has this name. The agent has a
    /// mount namespace of its own then, which goes with it as with a reboot.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn start_in_boot(host: &'h Host, root: &Path, boot: &str) -> Self {
        let agent = spawn(host, root, Some(boot), &[]);
        let boot = Some(boot.to_owned());
        let solo = Self { host, root: root.to_owned(), agent, boot, flags: Vec::new() };
        solo.wait_until_it_answers();
        solo
    }

    /// Starts the agent on the host as it is after its next boot. Ending everything is the test's.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn reboot(&mut self, host: &'h Host, boot: &str) {
        (self.host, self.boot) = (host, Some(boot.to_owned()));
        self.start_again();
    }

    fn wait_until_it_answers(&self) {
        wait::until("the agent answers", LIMIT, || {
            let output = self.try_ctl(&["container", "ls"]);
            if output.status.success() { Ok(()) } else { Err(programs::said(&output)) }
        });
    }

    /// `ctl` for this agent, on its host, without input.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(programs::ours("ctl"));
        command
            .arg("--agent-socket")
            .arg(self.root.join("data/run/agent.sock"))
            .args(arguments)
            .env("ROADSTEAD_CONFIG", self.root.join("config.json"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    /// Runs `ctl` and answers its output.
    ///
    /// # Panics
    /// When it can't be started.
    #[track_caller]
    pub fn try_ctl(&self, arguments: &[&str]) -> Output {
        programs::output(&mut self.command(arguments))
    }

    /// Runs `ctl`, which must succeed, and answers its stdout.
    ///
    /// # Panics
    /// When it fails, with all that it said.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> String {
        programs::succeed(&mut self.command(arguments))
    }

    /// Runs `ctl`, which must fail, and answers its exit code and what it said.
    ///
    /// # Panics
    /// When it succeeds.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.try_ctl(arguments);
        let said = programs::said(&output);
        assert!(!output.status.success(), "{arguments:?} should have failed: {said}");
        (output.status.code().unwrap_or(-1), said)
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

    /// The directory that holds everything of this agent.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The agent's process.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn agent_pid(&self) -> u32 {
        self.pid_where(|line| line.get(1).is_none_or(|word| word != "keeper"))
    }

    /// The keeper's process.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn keeper_pid(&self) -> u32 {
        self.pid_where(|line| line.get(1).is_some_and(|word| word == "keeper"))
    }

    #[track_caller]
    fn pid_where(&self, wanted: impl Fn(&[String]) -> bool) -> u32 {
        self.find(wanted)
            .unwrap_or_else(|| panic!("it does not run; what runs: {:?}", processes_of(&self.root)))
    }

    fn find(&self, wanted: impl Fn(&[String]) -> bool) -> Option<u32> {
        let all = processes_of(&self.root);
        let is_agent = |line: &[String]| line.first().is_some_and(|first| first.ends_with("/agent"));
        all.iter().find(|(_, line)| is_agent(line) && wanted(line)).map(|(pid, _)| *pid)
    }

    /// Ends the agent with SIGKILL: containers and keeper go on.
    ///
    /// # Panics
    /// When it can't be waited for.
    pub fn kill_agent(&mut self) {
        kill(self.agent_pid(), "KILL");
        self.agent.wait().expect("it was our child");
    }

    /// The keeper's process, if there is one.
    pub fn find_keeper(&self) -> Option<u32> {
        self.find(|line| line.get(1).is_some_and(|word| word == "keeper"))
    }

    /// Starts an agent in place of one that somebody else has killed.
    ///
    /// # Panics
    /// When the new one does not answer in time.
    pub fn start_after_death(&mut self) {
        // A tracer may have waited for it already.
        let _ = self.agent.wait();
        self.start_again();
    }

    /// Starts an agent on the same data again and waits until it answers.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn start_again(&mut self) {
        self.agent = spawn(self.host, &self.root, self.boot.as_deref(), &self.flags);
        self.wait_until_it_answers();
    }

    /// Ends agent, containers and keeper.
    ///
    /// # Panics
    /// When one of them stays.
    pub fn stop(&mut self) {
        // The pipe on its standard input ends, and it stops its containers.
        drop(self.agent.stdin.take());
        wait::until("the agent ends", LIMIT, || match self.agent.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let left = processes_of(&self.root);
        assert!(left.is_empty(), "the agent left {left:?}");
    }
}

impl Drop for Solo<'_> {
    fn drop(&mut self) {
        if !matches!(self.agent.try_wait(), Ok(None)) {
            return;
        }
        if std::thread::panicking() {
            drop(self.agent.stdin.take());
            // The test has failed already.
            let _ = self.agent.wait();
        } else {
            self.stop();
        }
    }
}

fn spawn(host: &Host, root: &Path, boot: Option<&str>, flags: &[String]) -> Child {
    let data = root.join("data");
    std::fs::create_dir_all(&data).expect("the test's directory is writable");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data.join("agent.log"));
    let log = log.expect("the test's directory is writable");
    let mut command = match boot {
        None => host.command(programs::ours("agent")),
        Some(boot) => {
            let id = data.join("boot-id");
            std::fs::write(&id, boot).expect("the test's directory is writable");
            let mut command = host.command("unshare");
            let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
            command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
            command.arg(id).arg(programs::ours("agent"));
            command
        }
    };
    command.arg("--data-dir").arg(data.join("agent")).arg("--run-dir").arg(data.join("run"));
    command.args(["--exit-with-stdin", "--stop-containers-on-exit"]).args(flags);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    // What tests find on the host afterwards is a container's or nobody's.
    command.env("ROADSTEAD_NETWORK_POOL", "0");
    command.spawn().expect("nsenter starts")
}
