//! Expected against observed. Pure; every comparison allows what confines more, where that is harmless.

use super::expected::{Expected, Limited, Namespace};
use super::observed::{CAPABILITY_SETS, Observed};
use super::{HostView, Mismatch, compare_mounts};

/// Everything that is not as asked; empty is good.
pub(super) fn compare(expected: &Expected, observed: &Observed, host: &HostView) -> Vec<Mismatch> {
    let mut found = Vec::new();
    identity(expected, observed, host, &mut found);
    confinement(expected, observed, &mut found);
    namespaces(expected, observed, host, &mut found);
    cgroups(expected, observed, host, &mut found);
    limits(expected, observed, &mut found);
    compare_mounts::compare(expected, observed, host, &mut found);
    found
}

/// As [`compare`], of a process that was sent into a running container.
pub(super) fn compare_exec(expected: &Expected, observed: &Observed, host: &HostView) -> Vec<Mismatch> {
    let mut found = Vec::new();
    identity(expected, observed, host, &mut found);
    confinement(expected, observed, &mut found);
    namespaces(expected, observed, host, &mut found);
    cgroups(expected, observed, host, &mut found);
    limits(expected, observed, &mut found);
    compare_mounts::root(expected, observed, host, &mut found);
    found
}

fn identity(expected: &Expected, observed: &Observed, host: &HostView, found: &mut Vec<Mismatch>) {
    let status = &observed.status;
    for missing in &status.missing {
        found.push(Mismatch::new(format!("status {missing}"), "a value", "none"));
    }
    if let Some(keeper) = host.keeper
        && status.parent != keeper
    {
        found.push(Mismatch::new("PPid", keeper, status.parent));
    }
    for (name, ids, asked) in [("Uid", &status.uids, expected.uid), ("Gid", &status.gids, expected.gid)] {
        let all = |id: u32| ids.len() == 4 && ids.iter().all(|found| *found == id);
        if !asked.is_some_and(all) {
            found.push(Mismatch::new(name, shown(asked), format!("{ids:?}")));
        }
    }
    let groups = status.groups.iter().map(|gid| Some(*gid)).collect();
    if expected.groups != groups {
        found.push(Mismatch::new("Groups", format!("{:?}", expected.groups), format!("{groups:?}")));
    }
    for (name, asked, is) in
        [("uid_map", &expected.uid_map, &observed.uid_map), ("gid_map", &expected.gid_map, &observed.gid_map)]
    {
        // Without a namespace of its own its map is the host's, which the namespace itself tells.
        if !asked.is_empty() && asked != is {
            found.push(Mismatch::new(name, format!("{asked:?}"), format!("{is:?}")));
        }
    }
}

fn shown(id: Option<u32>) -> String {
    id.map_or_else(|| "an id of the container".to_owned(), |id| id.to_string())
}

fn confinement(expected: &Expected, observed: &Observed, found: &mut Vec<Mismatch>) {
    let status = &observed.status;
    let most =
        [expected.inheritable, expected.permitted, expected.effective, expected.bounding, expected.ambient];
    for ((name, most), is) in CAPABILITY_SETS.iter().zip(most).zip(status.capabilities) {
        if is & !most != 0 {
            found.push(Mismatch::new(*name, format!("at most {most:016x}"), format!("{is:016x}")));
        }
    }
    if expected.no_new_privs && status.no_new_privs != 1 {
        found.push(Mismatch::new("NoNewPrivs", 1, status.no_new_privs));
    }
    if expected.filtered && status.seccomp != 2 {
        found.push(Mismatch::new("Seccomp", 2, status.seccomp));
    }
    // Standard streams, and the channel to the keeper, which execve closes.
    if observed.descriptors.is_some_and(|count| count > 4) {
        found.push(Mismatch::new("descriptors", "at most 4", observed.descriptors.unwrap_or_default()));
    }
}

fn namespaces(expected: &Expected, observed: &Observed, host: &HostView, found: &mut Vec<Mismatch>) {
    for (kind, asked) in &expected.namespaces {
        let Some(inode) = observed.namespaces.get(kind) else {
            // A kernel without this kind has it for nobody.
            if *asked != Namespace::Host {
                found.push(Mismatch::new(format!("ns/{kind}"), "a namespace", "none"));
            }
            continue;
        };
        let of_host = host.namespaces.contains(&(*kind, *inode));
        let (good, words) = match asked {
            Namespace::Own => (!of_host, "one of its own".to_owned()),
            Namespace::Host => (of_host, "the host's".to_owned()),
            Namespace::Given(given) => (inode == given, given.to_string()),
        };
        if !good {
            let is = if of_host { format!("{inode}, the host's") } else { inode.to_string() };
            found.push(Mismatch::new(format!("ns/{kind}"), words, is));
        }
    }
}

fn cgroups(expected: &Expected, observed: &Observed, host: &HostView, found: &mut Vec<Mismatch>) {
    let mut checked = 0;
    for (hierarchy, path) in &observed.cgroups {
        if !host.has_hierarchy(hierarchy) {
            // Mounted nowhere, so nobody could be put anywhere in it.
            continue;
        }
        checked += 1;
        if *path != expected.cgroup {
            let name = if hierarchy.is_empty() { "unified" } else { hierarchy };
            found.push(Mismatch::new(format!("cgroup {name}"), &expected.cgroup, path));
        }
    }
    if checked == 0 {
        found.push(Mismatch::new("cgroup", &expected.cgroup, "none"));
    }
}

fn limits(expected: &Expected, observed: &Observed, found: &mut Vec<Mismatch>) {
    let exceeds = |is: Option<u64>, asked: Option<u64>| match (is, asked) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(is), Some(asked)) => is > asked,
    };
    for (name, soft, hard) in &expected.limits {
        let is = observed.limits.get(*name).copied().unwrap_or([None, None]);
        if exceeds(is[0], *soft) || exceeds(is[1], *hard) {
            found.push(Mismatch::new(*name, format!("at most {soft:?}, {hard:?}"), format!("{is:?}")));
        }
    }
    if let Some(asked) = expected.oom_score
        && observed.oom_score.is_none_or(|is| is < asked)
    {
        found.push(Mismatch::new("oom_score_adj", asked, format!("{:?}", observed.oom_score)));
    }
    for (what, most) in &expected.resources {
        let is = resource(*what, observed);
        if is.is_none_or(|is| is > *most) {
            let is = is.map_or_else(|| "no limit".to_owned(), |is| is.to_string());
            found.push(Mismatch::new(format!("{what:?} limit"), most, is));
        }
    }
}

/// What the cgroup's files say; `None` is no limit, or none that could be read.
fn resource(what: Limited, observed: &Observed) -> Option<u64> {
    let file = |controller, name| observed.resources.get(&(controller, name)).map(|text| text.trim());
    let number = |controller, name| file(controller, name).and_then(|text| text.parse::<u64>().ok());
    match what {
        Limited::Pids => number("pids", "pids.max"),
        Limited::Memory => number("memory", "memory.max").or(number("memory", "memory.limit_in_bytes")),
        Limited::Cpu => {
            let (quota, period) = match file("cpu", "cpu.max").and_then(|text| text.split_once(' ')) {
                Some((quota, period)) => (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?),
                None => (number("cpu", "cpu.cfs_quota_us")?, number("cpu", "cpu.cfs_period_us")?),
            };
            quota.checked_mul(1000)?.checked_div(period)
        }
    }
}
