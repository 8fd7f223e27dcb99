//! Everything of a container that could stay behind on a host: processes,
//! mounts, network namespaces, links, cgroups, firewall elements, directories.
//! Two inventories that are equal mean that nothing did.

use std::collections::BTreeSet;
use std::path::Path;

use crate::host::Host;
use crate::programs;

/// Lists what of the cluster below `root` exists on `host` now.
///
/// # Panics
/// When `ip` or `nft` can't be asked.
pub fn of(host: &Host, root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    found.extend(cgroups(root));
    found.extend(processes(root));
    found.extend(mounts(root));
    let below = |folder: &str| entries(&root.join("data").join(folder));
    found.extend(files(root));
    found.extend(addresses(host));
    found.extend(below("run/netns").map(|name| format!("netns {name}")));
    found.extend(below("agent/containers").map(|name| format!("state {name}")));
    found.extend(below("agent/snapshots/containers").map(|name| format!("snapshot {name}")));
    let links = programs::succeed(host.command("ip").args(["-o", "link"]));
    let name =
        |line: &str| line.split(": ").nth(1).map(|name| name.split('@').next().unwrap_or(name).to_owned());
    found.extend(links.lines().filter_map(name).map(|name| format!("link {name}")));
    let rules = programs::succeed(host.command("nft").args(["list", "ruleset"]));
    found.extend(rules.lines().enumerate().map(|(number, line)| format!("nft {number:04} {}", line.trim())));
    found
}

/// Where a container, or a crash of an agent, leaves files. What images, records and logs are made of is not here.
const FOLDERS: [&str; 8] = [
    "agent",
    "agent/containers",
    "agent/content/ingest",
    "agent/snapshots/containers",
    "agent/snapshots/incoming",
    "agent/snapshots/trash",
    "agent/staging/layers",
    "run",
];

/// Made once and kept: the keeper's log, and which address comes next.
const KEPT: [&str; 2] = ["agent/keeper.log", "run/next-address"];

fn files(root: &Path) -> impl Iterator<Item = String> + use<> {
    let root = root.to_owned();
    let of = move |folder: &str| {
        let folder = folder.to_owned();
        entries(&root.join("data").join(&folder)).map(move |name| format!("file {folder}/{name}"))
    };
    FOLDERS.into_iter().flat_map(of).filter(|file| !KEPT.iter().any(|kept| file.contains(kept)))
}

fn addresses(host: &Host) -> Vec<String> {
    let listed = programs::succeed(host.command("ip").args(["-o", "address"]));
    let words = |line: &str| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" ");
    listed.lines().map(|line| format!("address {}", words(line))).collect()
}

/// What `later` has that `earlier` had not, for messages.
pub fn added(earlier: &BTreeSet<String>, later: &BTreeSet<String>) -> String {
    let lines: Vec<&str> = later.difference(earlier).map(String::as_str).collect();
    lines.join("\n")
}

fn entries(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// The processes in cgroups of the agent below `root`.
pub fn processes_in_cgroups(root: &Path) -> Vec<(u32, Vec<String>)> {
    let ours = format!("/roadstead/{}/", instance(&root.join("data/agent")));
    let is_ours = |pid: u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&ours))
    };
    crate::dev::processes().filter(|(pid, _)| is_ours(*pid)).collect()
}

/// Removes the cgroups of the agent below `root`, which are empty, as a reboot does.
///
/// # Panics
/// When one is not empty.
pub fn remove_cgroups(root: &Path) {
    // The deepest first.
    for line in cgroups(root).iter().rev() {
        let path = line.trim_start_matches("cgroup ");
        std::fs::remove_dir(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

/// The cgroups of our containers: those of processes whose root lies in another
/// cluster's directory don't count, so they are told apart by their instance.
fn cgroups(root: &Path) -> BTreeSet<String> {
    let instance = instance(&root.join("data/agent"));
    let mut found = BTreeSet::new();
    let mut folders = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        let children = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
            let path = child.path();
            let text = path.display().to_string();
            if text.contains(&format!("/roadstead/{instance}/")) {
                found.insert(format!("cgroup {text}"));
            }
            folders.push(path);
        }
    }
    found
}

fn processes(root: &Path) -> impl Iterator<Item = String> + use<> {
    processes_in_cgroups(root).into_iter().map(|(pid, line)| format!("process {pid} {}", line.join(" ")))
}

/// Those that this process sees, and those that the agent sees: it may have a mount namespace of its own.
fn mounts(root: &Path) -> BTreeSet<String> {
    let is_agent = |line: &[String]| {
        line.first().is_some_and(|word| word.ends_with("/agent"))
            && line.get(1).is_none_or(|word| word != "keeper")
    };
    let ours = crate::dev::processes_of(root).into_iter().filter(|(_, line)| is_agent(line));
    let tables = ours.map(|(pid, _)| format!("/proc/{pid}/mountinfo"));
    let tables = tables.chain(["/proc/self/mountinfo".to_owned()]);
    let text: String = tables.filter_map(|table| std::fs::read_to_string(table).ok()).collect();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(root)).map(|point| format!("mount {point}")).collect()
}

/// The part of cgroup names that is the agent's whose root this is.
pub fn instance_of(root: &Path) -> String {
    instance(&root.join("data/agent"))
}

/// The part of cgroup names that tells agents of one machine apart.
fn instance(data_dir: &Path) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
