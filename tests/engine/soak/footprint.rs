//! What agent and keeper hold of the machine.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use itest::solo::Solo;

/// What one process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    name: &'static str,
    /// Where each leads to, with how many lead to the like of it.
    descriptors: BTreeMap<String, usize>,
    threads: Vec<String>,
    /// Memory that is its own, in KiB.
    private_kib: usize,
}

/// What agent and keeper hold, and the files they keep.
#[derive(Debug, Clone)]
pub(super) struct Footprint {
    processes: [Process; 2],
    /// Files and directories by the directory they lie below.
    files: BTreeMap<String, usize>,
}

impl Footprint {
    pub(super) fn of(solo: &Solo<'_>) -> Footprint {
        let processes = [process("agent", solo.agent_pid()), process("keeper", solo.keeper_pid())];
        let mut files = BTreeMap::new();
        for below in ["data/agent", "data/run"] {
            for entry in std::fs::read_dir(solo.root().join(below)).into_iter().flatten().flatten() {
                let name = format!("{below}/{}", entry.file_name().to_string_lossy());
                files.insert(name, count(&entry.path()));
            }
        }
        Footprint { processes, files }
    }

    /// What there is more of, a line for each; memory may grow by so much.
    pub(super) fn grown_since(&self, before: &Footprint, memory_kib: usize) -> Vec<String> {
        let mut grown = Vec::new();
        for (now, then) in self.processes.iter().zip(&before.processes) {
            let name = now.name;
            if now.descriptors.values().sum::<usize>() > then.descriptors.values().sum() {
                grown.push(format!("{name}: descriptors {:?}, were {:?}", now.descriptors, then.descriptors));
            }
            if now.threads.len() > then.threads.len() {
                grown.push(format!("{name}: threads {:?}, were {:?}", now.threads, then.threads));
            }
            if now.private_kib > then.private_kib + memory_kib {
                let (now, then) = (now.private_kib, then.private_kib);
                grown.push(format!(
                    "{name}: {now} KiB of memory, were {then}; {memory_kib} more were allowed"
                ));
            }
        }
        for (name, now) in &self.files {
            let then = before.files.get(name).copied().unwrap_or(0);
            if *now > then {
                grown.push(format!("{name}: {now} files, were {then}"));
            }
        }
        grown
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Process { name, descriptors, threads, private_kib } in &self.processes {
            let descriptors: usize = descriptors.values().sum();
            write!(f, "{name} {descriptors} fds, {} threads, {private_kib} KiB; ", threads.len())?;
        }
        write!(f, "{} files", self.files.values().sum::<usize>())
    }
}

fn process(name: &'static str, pid: u32) -> Process {
    let list = |what: &str| {
        let entries = std::fs::read_dir(format!("/proc/{pid}/{what}")).expect("it runs");
        entries.flatten().map(|entry| entry.path())
    };
    let mut descriptors = BTreeMap::new();
    for path in list("fd") {
        let to = std::fs::read_link(path).unwrap_or_default().to_string_lossy().into_owned();
        // Without the numbers of sockets and pipes.
        let kind = to.split(":[").next().unwrap_or_default().to_owned();
        *descriptors.entry(kind).or_insert(0) += 1;
    }
    let name_of = |path: std::path::PathBuf| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
    let threads = list("task").map(|path| name_of(path).trim().to_owned()).collect();
    let memory = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
    let line = memory.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let private_kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    Process { name, descriptors, threads, private_kib: private_kib.expect("the kernel says it in kB") }
}

/// The directory entry itself, and everything below it.
fn count(path: &Path) -> usize {
    let is_dir = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    let below = std::fs::read_dir(path).into_iter().flatten().flatten().filter(|_| is_dir);
    1 + below.map(|entry| count(&entry.path())).sum::<usize>()
}
