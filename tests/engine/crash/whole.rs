//! What of each container is on the host, and what its record says should be.

use std::collections::BTreeSet;
use std::path::Path;

use itest::host::Host;
use itest::inventory;
use serde_json::Value;

/// Digits of an id that all names share.
const DIGITS: usize = 12;

/// Everything on the host that belongs to some container, as "kind id".
pub(super) fn found(host: &Host, root: &Path) -> BTreeSet<String> {
    let short = |id: &str| id.chars().take(DIGITS).collect::<String>();
    let mut found = BTreeSet::new();
    for line in inventory::of(host, root) {
        let Some((kind, name)) = line.split_once(' ') else { continue };
        match kind {
            "netns" | "state" | "snapshot" => {
                found.insert(format!("{kind} {}", short(name)));
            }
            "mount" => {
                found.insert(format!("mount {}", short(name.rsplit('/').next().unwrap_or_default())));
            }
            "link" if name.starts_with("rs") => {
                found.insert(format!("link {}", &name[2..]));
            }
            "cgroup" => {
                found.insert(format!("cgroup {}", short(name.rsplit('/').next().unwrap_or_default())));
            }
            "nft" => {
                found.insert(format!("nft {}", name.split_once(' ').map_or("", |(_, rule)| rule)));
            }
            _ => {}
        }
    }
    for (pid, _) in inventory::processes_in_cgroups(root) {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let id = groups.lines().find_map(|line| line.split_once("/roadstead/")?.1.split('/').nth(1));
        found.insert(format!("process {}", short(id.unwrap_or("gone"))));
    }
    found
}

/// What is to be there by these records.
pub(super) fn expected(containers: &Value) -> BTreeSet<String> {
    let mut expected = BTreeSet::new();
    for container in containers.as_array().into_iter().flatten() {
        let id: String = container["id"].as_str().unwrap_or_default().chars().take(DIGITS).collect();
        let mut kinds = vec!["state", "snapshot"];
        if container["state"] == "running" {
            kinds.extend(["netns", "mount", "link", "cgroup", "process"]);
        }
        expected.extend(kinds.iter().map(|kind| format!("{kind} {id}")));
    }
    expected
}

/// How the two differ, a line for each thing. Rules of the packet filter are
/// compared by the address they lead to.
pub(super) fn difference(
    found: &BTreeSet<String>,
    empty: &BTreeSet<String>,
    containers: &Value,
) -> Vec<String> {
    let expected = expected(containers);
    let of_rules = |line: &&String| line.starts_with("nft ");
    let mut wrong: Vec<String> = Vec::new();
    let things: BTreeSet<String> = found.iter().filter(|line| !of_rules(line)).cloned().collect();
    wrong.extend(things.difference(&expected).map(|line| format!("nobody's: {line}")));
    wrong.extend(expected.difference(&things).map(|line| format!("missing: {line}")));
    let addresses: Vec<&str> = containers
        .as_array()
        .into_iter()
        .flatten()
        .filter(|container| container["state"] == "running")
        .filter_map(|container| container["address"].as_str())
        .collect();
    let rules: BTreeSet<&String> = found.iter().filter(of_rules).collect();
    for rule in rules.iter().filter(|rule| !empty.contains(**rule)) {
        // Chains and the elements of their maps carry the address or the published port.
        if addresses.is_empty() {
            wrong.push(format!("leads nowhere: {rule}"));
        }
    }
    for address in addresses.iter().filter(|address| !rules.iter().any(|rule| rule.contains(**address))) {
        wrong.push(format!("no port leads to {address}"));
    }
    wrong
}

/// Children of this process that have ended and that it never asked about.
pub(super) fn unreaped(parent: u32) -> Vec<String> {
    let state = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name between the parentheses may hold anything.
        let (_, rest) = text.rsplit_once(')')?;
        let mut words = rest.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse::<u32>().ok()?))
    };
    let processes = itest::dev::processes().map(|(pid, _)| pid);
    let ended = processes.filter(|pid| state(*pid).is_some_and(|(state, of)| state == "Z" && of == parent));
    ended.map(|pid| format!("process {pid} has ended and is not reaped")).collect()
}
