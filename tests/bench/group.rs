//! What a side used of the processors: its programs are put into a cgroup of
//! their own, whose counter also has those that have ended, and that of the containers
//! they started, wherever those live. What the kernel does later in its own threads,
//! such as taking a network namespace apart, is in nobody's counter.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where each version counts: the directory of the hierarchy, and the file in each cgroup.
const COUNTERS: [(&str, &str); 3] = [
    ("/sys/fs/cgroup/cpuacct", "cpuacct.usage"),
    ("/sys/fs/cgroup/cpu,cpuacct", "cpuacct.usage"),
    ("/sys/fs/cgroup", "cpu.stat"),
];

/// A cgroup for programs, and others that count.
#[derive(Debug)]
pub(crate) struct Group {
    name: String,
    hierarchy: &'static Path,
    counter: &'static str,
    others: Vec<PathBuf>,
}

impl Group {
    /// A new one.
    pub(crate) fn new(side: &str) -> Self {
        let found = COUNTERS.iter().find(|(path, file)| Path::new(path).join(file).exists());
        let (hierarchy, counter) = found.expect("cgroups that count processor time");
        let hierarchy = Path::new(*hierarchy);
        let name = format!("rt-bench-{}-{side}", std::process::id());
        std::fs::create_dir(hierarchy.join(&name)).expect("we are root");
        Self { name, hierarchy, counter, others: Vec::new() }
    }

    /// Its path, as container engines are told of it.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// Moves a process into it. Its later children are born there.
    pub(crate) fn add(&self, pid: u32) {
        let procs = self.hierarchy.join(&self.name).join("cgroup.procs");
        std::fs::write(procs, pid.to_string()).expect("the process runs");
    }

    /// Counts the cgroup `path` as well.
    pub(crate) fn count_also(&mut self, path: &str) {
        self.others.push(self.hierarchy.join(path.trim_start_matches('/')));
    }

    /// What all of it has used.
    pub(crate) fn used(&self) -> Duration {
        let own = self.hierarchy.join(&self.name);
        self.others.iter().chain([&own]).map(|path| self.of(path)).sum()
    }

    fn of(&self, path: &Path) -> Duration {
        let text = std::fs::read_to_string(path.join(self.counter)).unwrap_or_default();
        match text.strip_prefix("usage_usec ") {
            Some(rest) => {
                Duration::from_micros(rest.lines().next().and_then(|n| n.parse().ok()).unwrap_or(0))
            }
            None => Duration::from_nanos(text.trim().parse().unwrap_or(0)),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let own = self.hierarchy.join(&self.name);
        // Shells and daemons go on for a moment, elsewhere.
        for pid in std::fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = std::fs::write(self.hierarchy.join("cgroup.procs"), pid);
        }
        remove(&own);
    }
}

/// Removes it with what engines made in it, once its processes are gone.
fn remove(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    for _ in 0..100 {
        if std::fs::remove_dir(path).is_ok() || !path.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
