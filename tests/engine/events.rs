//! What happens on a host, as people and programs read it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use itest::host::Host;
use itest::image;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;

use crate::scratch;

/// The actions that were told since the agent's start, oldest first.
fn told(solo: &Solo<'_>, arguments: &[&str]) -> Vec<serde_json::Value> {
    let all = [&["events", "--since", "1h", "--until", "0s", "--output", "json"], arguments].concat();
    solo.ctl(&all).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn actions(events: &[serde_json::Value]) -> Vec<&str> {
    events.iter().map(|event| event["action"].as_str().unwrap_or_default()).collect()
}

#[test]
fn a_life_is_told_in_dockers_words() {
    let (host, dir) = (Host::new("evnt"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let mut solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    solo.ctl(&["run", "-d", "--name", "web", &image, "sleep", "1000"]);
    solo.ctl(&["container", "pause", "web"]);
    solo.ctl(&["container", "unpause", "web"]);
    solo.ctl(&["container", "rename", "web", "site"]);
    solo.ctl(&["container", "restart", "-t", "0", "site"]);
    solo.ctl(&["container", "stop", "-t", "0", "site"]);
    solo.ctl(&["container", "rm", "site"]);
    let all = told(&solo, &[]);
    assert!(actions(&all).contains(&"pull"), "{all:?}");
    let of_it = told(&solo, &["--filter", "type=container"]);
    let expected = [
        "create", "start", "pause", "unpause", "rename", "kill", "kill", "die", "stop", "start", "restart",
        "kill", "kill", "die", "stop", "destroy",
    ];
    assert_eq!(actions(&of_it), expected);
    let die = told(&solo, &["--filter", "event=die", "--filter", "container=site"]);
    assert_eq!((die.len(), &die[0]["attributes"]["exitCode"]), (2, &"137".into()), "{die:?}");
    assert_eq!(die[0]["attributes"]["image"], image.as_str());
    assert_eq!(of_it[5]["attributes"]["signal"], "15");
    assert_eq!(of_it[4]["attributes"]["oldName"], "web");
    assert_eq!(solo.refused(&["events", "--filter", "colour=red"]).0, 6);
    assert_eq!(solo.refused(&["events", "--since", "soon"]).0, 2);
    // The past is the agent's memory: a new one begins anew, and says what happens from then on.
    solo.kill_agent();
    solo.start_again();
    assert_eq!(told(&solo, &["--filter", "event=start"]), Vec::<serde_json::Value>::new());
}

#[test]
fn who_follows_hears_of_it_at_once() {
    let (host, dir) = (Host::new("evnf"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    let mut follower = solo
        .command(&["container", "events", "--since", "1h", "--filter", "container=db"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("ctl starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("it is piped")).lines();
    solo.ctl(&["run", "--rm", &image, "true"]);
    solo.ctl(&["run", "--rm", "--name", "db", &image, "true"]);
    for action in ["create", "start", "die", "destroy"] {
        let line = lines.next().expect("a line").expect("text");
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        assert_eq!(words[1..3], ["container", action], "{line}");
        assert!(words[0].ends_with('Z') && words[4].contains("name=db"), "{line}");
    }
    itest::dev::kill(follower.id(), "INT");
    assert!(follower.wait().expect("it ends").success());
}
