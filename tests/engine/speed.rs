//! How much is asked of the kernel for a container's whole life, counted: counts do not depend on the machine's mood.
//! Each ceiling is what holds today with a little room for events that arrive one by one instead of together; a change that
//! needs more must say so here.

use std::time::Duration;

use itest::calls::{Attached, Calls};
use itest::host::Host;
use itest::image;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{inventory, wait};

use crate::{SOON, scratch};

/// Ceilings for one life, on a host with ten hierarchies of cgroups (version 2 alone is one): of the keeper with the
/// child up to its program, and with the agent.
const KEEPER: u64 = 475;
const ALL: u64 = 790;
/// Calls that wait for the disk.
const SYNCS: [&str; 3] = ["fsync", "fdatasync", "syncfs"];
/// Lives under strace.
const LIVES: u64 = 8;

/// How threads wait for each other depends on how slow tracing makes them, and a debug build asks for the flags of each
/// descriptor before it closes it: neither counts.
const UNCOUNTED: [&str; 6] =
    ["futex", "epoll_wait", "epoll_pwait", "sched_yield", "restart_syscall", "fcntl"];

/// How often was asked, per life.
fn per_life(calls: &Calls) -> u64 {
    (calls.all() - calls.of(&UNCOUNTED)) / LIVES
}

/// Calls of programs while `ctl` makes containers live and die, one after the other.
fn count(solo: &Solo<'_>, programs: &[u32], command: &[&str]) -> Calls {
    // What is done once, and the networks in stock.
    for _ in 0..4 {
        solo.ctl(command);
    }
    std::thread::sleep(Duration::from_secs(1));
    let attached = Attached::to(solo.root(), programs);
    for _ in 0..LIVES {
        solo.ctl(command);
    }
    // What is removed after the answer belongs to the life.
    std::thread::sleep(Duration::from_secs(1));
    attached.end()
}

#[test]
fn a_throw_away_container_costs_one_clone_one_exec_and_no_wait_for_the_disk() {
    let (dir, host) = (scratch(), Host::new("speed"));
    let registry = Registry::start(&host, dir.path());
    registry.push("speed", "1", &image::busybox(&["true"]));
    let solo = Solo::start_with(&host, dir.path(), &["--network-pool", "4"]);
    let image = format!("{ADDRESS}/speed:1");
    let command = ["container", "run", "--rm", &image, "/bin/true"];

    let keeper = count(&solo, &[solo.keeper_pid()], &command);
    let all = count(&solo, &[solo.agent_pid(), solo.keeper_pid()], &command);
    println!("keeper {}: {keeper:?}\nall {}: {all:?}", per_life(&keeper), per_life(&all));
    assert!(per_life(&keeper) > 100, "strace saw too little: {keeper:?}");
    assert!(per_life(&keeper) <= KEEPER, "{} calls of keeper and child: {keeper:?}", per_life(&keeper));
    assert!(per_life(&all) <= ALL, "{} calls of agent, keeper and child: {all:?}", per_life(&all));
    for (calls, whose) in [(&keeper, "keeper"), (&all, "all")] {
        assert_eq!(calls.of(&["execve", "execveat"]), LIVES, "{whose}: {calls:?}");
        assert_eq!(calls.of(&["fork", "vfork", "clone"]), 0, "{whose}: {calls:?}");
    }
    assert_eq!(keeper.of(&["clone3"]), LIVES, "{keeper:?}");
    assert_eq!(keeper.of(&SYNCS), 0, "{keeper:?}");
    // The records' own writer comes round every half second, whoever lives.
    assert!(all.of(&SYNCS) <= LIVES / 2, "{all:?}");
}

fn networks(host: &Host, solo: &Solo<'_>) -> Vec<String> {
    let is_network = |line: &String| line.starts_with("netns ") || line.starts_with("link rs");
    inventory::of(host, solo.root()).into_iter().filter(is_network).collect()
}

#[test]
fn networks_in_stock_are_named_swept_after_a_crash_and_gone_with_the_agent() {
    let (dir, host) = (scratch(), Host::new("stock"));
    let mut solo = Solo::start_with(&host, dir.path(), &["--network-pool", "3"]);
    assert_eq!(networks(&host, &solo), Vec::<String>::new(), "an agent that starts nothing keeps nothing");
    solo.ctl(&["container", "run", "--detach", "--name", "one", "roadstead/hello"]);
    let stocked = |solo: &Solo<'_>, containers: usize| {
        wait::until("three are in stock", SOON, || {
            let found = networks(&host, solo);
            // A namespace and an interface each.
            if found.len() == 2 * (3 + containers) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    stocked(&solo, 1);
    solo.ctl(&["container", "run", "--detach", "--name", "two", "roadstead/hello"]);
    stocked(&solo, 2);
    solo.kill_agent();
    solo.start_again();
    let after = networks(&host, &solo);
    assert_eq!(after.len(), 4, "what was in stock is swept, what is used stays: {after:?}");
    solo.ctl(&["container", "rm", "--force", "one", "two"]);
    assert_eq!(networks(&host, &solo), Vec::<String>::new());
    solo.stop();
}

#[test]
fn a_throw_away_container_outlives_a_crash_of_the_agent_that_comes_at_once() {
    let (dir, host) = (scratch(), Host::new("fleeting"));
    let mut solo = Solo::start(&host, dir.path());
    // Faster than the records' writer, which comes round every half second.
    solo.ctl(&["container", "run", "--detach", "--rm", "--name", "one", "roadstead/hello"]);
    solo.kill_agent();
    solo.start_again();
    let listed = solo.json(&["container", "ls"]);
    assert_eq!(listed[0]["name"], "one", "{listed}");
    solo.ctl(&["container", "stop", "--time", "0", "one"]);
    wait::until("it is removed", SOON, || {
        let listed = solo.json(&["container", "ls", "--all"]);
        if listed.as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(listed.to_string()) }
    });
    assert_eq!(inventory::processes_in_cgroups(solo.root()), []);
}

#[test]
fn a_throw_away_container_that_was_renamed_has_its_new_name_after_a_crash() {
    let (dir, host) = (scratch(), Host::new("renamed"));
    let mut solo = Solo::start(&host, dir.path());
    solo.ctl(&["container", "run", "--detach", "--rm", "--name", "one", "roadstead/hello"]);
    solo.ctl(&["container", "rename", "one", "two"]);
    solo.kill_agent();
    solo.start_again();
    let listed = solo.json(&["container", "ls"]);
    assert_eq!(listed[0]["name"], "two", "{listed}");
    solo.ctl(&["container", "rm", "--force", "two"]);
    solo.kill_agent();
    solo.start_again();
    let listed = solo.json(&["container", "ls", "--all"]);
    assert_eq!(listed, serde_json::json!([]));
}
