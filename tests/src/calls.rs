//! System calls, counted by strace: of a command with all its children, or of
//! daemons while something is asked of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{dev, programs, wait};

/// How often each call was made.
#[derive(Debug, Clone, Default)]
pub struct Calls(BTreeMap<String, u64>);

impl Calls {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.0.values().sum()
    }

    /// Those of one kind.
    pub fn of(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|name| self.0.get(*name)).sum()
    }

    /// The table that `strace -c` leaves: a name in the last column, a count in the fourth.
    fn parse(table: &str) -> Self {
        let row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let count = words.get(3)?.parse().ok()?;
            let name = words.last().filter(|name| **name != "total")?;
            Some(((*name).to_owned(), count))
        };
        Self(table.lines().filter_map(row).collect())
    }
}

/// Of the line and all that it starts.
///
/// # Panics
/// When it fails, or strace is not there.
pub fn of_line(dir: &Path, line: &str) -> Calls {
    let table = dir.join("calls");
    let mut command = strace();
    programs::succeed(command.arg(&table).args(["sh", "-c", line]).stdin(Stdio::null()));
    read(&table)
}

/// A strace that is attached to running programs.
#[derive(Debug)]
pub struct Attached {
    child: Child,
    table: PathBuf,
}

impl Attached {
    /// Attaches to all threads of the processes and to what they start from now on.
    ///
    /// # Panics
    /// When strace is not there, or does not attach.
    pub fn to(dir: &Path, pids: &[u32]) -> Self {
        let table = dir.join("calls");
        let mut command = strace();
        command.arg(&table);
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("strace starts");
        for pid in pids {
            wait::until("strace is attached", Duration::from_secs(10), || traced(*pid));
        }
        Self { child, table }
    }

    /// Detaches, and answers what was counted.
    pub fn end(mut self) -> Calls {
        dev::kill(self.child.id(), "INT");
        let _ = self.child.wait();
        read(&self.table)
    }
}

/// Up to the name of the file for the table.
fn strace() -> Command {
    programs::need("strace", "strace");
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-U", "time-percent,total-time,avg-time,calls,errors,name", "-o"]);
    command
}

fn traced(pid: u32) -> Result<(), String> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if status.contains("TracerPid:\t0\n") {
            return Err(format!("{} is not traced", entry.path().display()));
        }
    }
    Ok(())
}

fn read(table: &Path) -> Calls {
    Calls::parse(&std::fs::read_to_string(table).unwrap_or_default())
}
