//! Runs a side's commands and takes their times: one shell per side, on the
//! side's host and in its cgroup, that is told line by line. So no time contains what
//! it takes to get there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use itest::host::Host;

use crate::group::Group;

/// A shell that waits for lines.
#[derive(Debug)]
pub(crate) struct Shell {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// What one command took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// By the clock.
    pub(crate) wall: Duration,
    /// Of the processors, by all programs of the side.
    pub(crate) cpu: Duration,
}

impl Shell {
    /// Starts it.
    pub(crate) fn start(host: &Host, group: &Group) -> Self {
        let mut command = host.command("sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).env_remove("RUST_LOG");
        let mut child = command.spawn().expect("nsenter starts");
        group.add(child.id());
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (to, from) = (to.expect("it is piped"), BufReader::new(from.expect("it is piped")));
        Self { child, to, from }
    }

    /// Runs a line, which must succeed, and answers how long that took.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> Duration {
        let begun = Instant::now();
        writeln!(self.to, "{line} </dev/null >/dev/null; echo $?").expect("the shell runs");
        let mut answer = String::new();
        self.from.read_line(&mut answer).expect("the shell runs");
        let taken = begun.elapsed();
        assert_eq!(answer.trim(), "0", "{line}");
        taken
    }

    /// As [`Shell::run`], with what all programs of the side used meanwhile.
    #[track_caller]
    pub(crate) fn measure(&mut self, line: &str, group: &Group) -> Taken {
        let before = group.used();
        let wall = self.run(line);
        Taken { wall, cpu: group.used().saturating_sub(before) }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        let _ = writeln!(self.to, "exit");
        let _ = self.child.wait();
    }
}
