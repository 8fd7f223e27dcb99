//! Restart policies as a user sees them, across kills of the agent, of the
//! keeper and of the whole host.

use std::path::Path;

use itest::dev::{kill, processes_of};
use itest::host::Host;
use itest::solo::Solo;
use itest::{programs, wait};
use serde_json::Value;

use crate::{SOON, scratch};

fn run(solo: &Solo<'_>, name: &str, policy: &str) {
    solo.ctl(&["container", "run", "-d", "--name", name, "--restart", policy, "roadstead/hello"]);
}

fn seen(solo: &Solo<'_>, name: &str) -> Value {
    let all = solo.json(&["container", "ls", "--all"]);
    let found = all.as_array().and_then(|all| all.iter().find(|one| one["name"] == name));
    found.unwrap_or_else(|| panic!("{name} is not among {all}")).clone()
}

#[track_caller]
fn until(solo: &Solo<'_>, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) {
    wait::until(what, SOON, || {
        let seen = seen(solo, name);
        if is_so(&seen) { Ok(()) } else { Err(seen.to_string()) }
    });
}

fn runs(seen: &Value) -> bool {
    seen["state"] == "running"
}

#[test]
fn policies_hold_across_kills_of_agent_and_keeper() {
    let (scratch, host) = (scratch(), Host::new("restart"));
    let mut solo = Solo::start(&host, scratch.path());
    run(&solo, "kept", "always");
    run(&solo, "plain", "no");
    run(&solo, "stopped", "unless-stopped");
    solo.ctl(&["container", "stop", "stopped"]);
    let before = seen(&solo, "kept");

    solo.kill_agent();
    solo.start_again();
    assert_eq!(seen(&solo, "kept")["pid"], before["pid"], "the agent's death is nobody's business");

    kill(solo.keeper_pid(), "KILL");
    until(&solo, "kept", "it is started again", |seen| runs(seen) && seen["pid"] != before["pid"]);
    until(&solo, "plain", "it has ended", |seen| seen["state"] == "exited");
    let plain = seen(&solo, "plain");
    assert_eq!(plain["exit_code"], 137);
    assert!(plain["error"].as_str().unwrap_or_default().contains("the keeper ended"), "{plain}");

    // Both, and the decision is still to be made.
    let before = seen(&solo, "kept");
    let keeper = solo.keeper_pid();
    kill(keeper, "STOP");
    solo.kill_agent();
    kill(keeper, "KILL");
    solo.start_again();
    until(&solo, "kept", "it runs again", |seen| runs(seen) && seen["pid"] != before["pid"]);
    assert_eq!(seen(&solo, "stopped")["state"], "exited");
    assert_eq!(seen(&solo, "kept")["restart_count"], 2);
}

#[test]
fn a_command_waits_for_the_keeper_that_replaces_a_lost_one() {
    let (scratch, host) = (scratch(), Host::new("replaced"));
    let solo = Solo::start(&host, scratch.path());
    for _ in 0..5 {
        let keeper = solo.keeper_pid();
        kill(keeper, "KILL");
        wait::until("it is dead", SOON, || {
            let dead = std::fs::read_link(format!("/proc/{keeper}/exe")).is_err();
            if dead { Ok(()) } else { Err("it lives".to_owned()) }
        });
        run(&solo, "at-once", "no");
        solo.ctl(&["container", "rm", "-f", "at-once"]);
    }
}

#[test]
fn a_pause_is_shown_and_a_stop_ends_it() {
    let (scratch, host) = (scratch(), Host::new("pause"));
    let solo = Solo::start(&host, scratch.path());
    let words = ["container", "run", "-d", "--name", "failing", "--restart", "always"];
    solo.ctl(&[&words[..], &["--env", "PORT=none", "roadstead/hello"]].concat());
    until(&solo, "failing", "it waits", |seen| seen["state"] == "restarting");
    assert!(solo.ctl(&["container", "ls", "--all"]).contains("Restarting ("));
    solo.ctl(&["container", "stop", "failing"]);
    assert_eq!(seen(&solo, "failing")["state"], "exited");
    let words = ["container", "run", "--rm", "--restart", "always", "roadstead/hello"];
    let (_, said) = solo.refused(&words);
    assert!(said.contains("--restart") && said.contains("--rm"), "{said}");
    let (_, said) = solo.refused(&["container", "run", "--restart", "often", "roadstead/hello"]);
    assert!(said.contains("unless-stopped"), "{said}");
}

/// Ends everything as a power cut does: nothing of the host is left but what is on disk.
fn cut_power(solo: &mut Solo<'_>, root: &Path) {
    let keeper = solo.keeper_pid();
    solo.kill_agent();
    kill(keeper, "KILL");
    for (pid, _) in itest::inventory::processes_in_cgroups(root) {
        kill(pid, "KILL");
    }
    wait::until("nothing runs", SOON, || {
        let left = processes_of(root).len() + itest::inventory::processes_in_cgroups(root).len();
        if left == 0 { Ok(()) } else { Err(format!("{left} processes")) }
    });
    itest::inventory::remove_cgroups(root);
    // Its mounts went with its mount namespace.
    std::fs::remove_dir_all(root.join("data/run")).expect("nothing is mounted there");
}

#[test]
fn after_a_reboot_what_is_to_run_has_everything_made_anew() {
    let scratch = scratch();
    let (before, after) = (Host::new("boot1"), Host::new("boot2"));
    let mut solo = Solo::start_in_boot(&before, scratch.path(), "11111111-1111-1111-1111-111111111111");
    run(&solo, "kept", "unless-stopped");
    run(&solo, "plain", "no");
    run(&solo, "once", "on-failure");
    // A record that says "running", as every one does that ran for a while.
    std::thread::sleep(std::time::Duration::from_secs(1));
    cut_power(&mut solo, scratch.path());

    solo.reboot(&after, "22222222-2222-2222-2222-222222222222");
    until(&solo, "kept", "it runs", runs);
    until(&solo, "once", "a reboot is no success", runs);
    let plain = seen(&solo, "plain");
    assert_eq!((&plain["state"], &plain["exit_code"]), (&"exited".into(), &255.into()));
    assert!(plain["error"].as_str().unwrap_or_default().contains("the host was restarted"), "{plain}");
    let address = seen(&solo, "kept")["address"].as_str().map(str::to_owned).unwrap_or_default();
    wait::until("it is reached", SOON, || {
        let url = format!("http://{address}/");
        let output = programs::output(after.command("curl").args(["-sS", "--max-time", "2", &url]));
        if output.status.success() { Ok(()) } else { Err(programs::said(&output)) }
    });
}

/// What a killed keeper had just cloned has its socket and its lock a little longer than it lived itself.
#[test]
fn an_agent_waits_until_nothing_is_left_of_a_killed_keeper() {
    let (scratch, host) = (scratch(), Host::new("remains"));
    let mut solo = Solo::start(&host, scratch.path());
    run(&solo, "kept", "always");
    let data = solo.root().join("data");
    kill(solo.agent_pid(), "KILL");
    kill(solo.keeper_pid(), "KILL");
    let socket = data.join("run/keeper.sock");
    std::fs::remove_file(&socket).expect("the keeper left it");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("the keeper has gone");
    let lock = std::fs::File::open(data.join("agent/keeper.lock")).expect("the keeper left it");
    wait::until("the lock is free", SOON, || lock.try_lock().map_err(|error| error.to_string()));
    let remains = std::thread::spawn(move || {
        // Somebody who connects is not answered, and is hung up on in the end.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        drop(listener);
        std::thread::sleep(std::time::Duration::from_millis(700));
        drop(lock);
    });
    solo.start_after_death();
    remains.join().expect("it lets go");
    until(&solo, "kept", "it was started again", runs);
    solo.ctl(&["container", "rm", "--force", "kept"]);
}
