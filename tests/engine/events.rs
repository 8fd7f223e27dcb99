//! What happens on a host, as people and programs read it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, wait};

use crate::{SOON, scratch};

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
    assert_eq!(solo.refused(&["events", "--filter", "type=contaner"]).0, 6);
    assert_eq!(actions(&told(&solo, &["--filter", "scope=local", "--filter", "type=container"])), expected);
    assert_eq!(told(&solo, &["--filter", "daemon=here"]), Vec::<serde_json::Value>::new());
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
    for action in ["create", "attach", "start", "die", "destroy"] {
        let line = lines.next().expect("a line").expect("text");
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        assert_eq!(words[1..3], ["container", action], "{line}");
        assert!(words[0].ends_with('Z') && words[4].contains("name=db"), "{line}");
    }
    itest::dev::kill(follower.id(), "INT");
    assert!(follower.wait().expect("it ends").success());
}

#[test]
fn what_is_done_to_containers_and_volumes_is_told() {
    let (host, dir) = (Host::new("evnx"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    solo.ctl(&["volume", "create", "data"]);
    let health = ["--health-cmd", "true", "--health-interval", "100ms"];
    let run = ["run", "-d", "--name", "web", "-v", "data:/srv:ro"];
    solo.ctl(&[&run[..], &health, &[&image, "sleep", "1000"]].concat());
    solo.ctl(&["exec", "web", "true"]);
    solo.ctl(&["container", "top", "web"]);
    solo.ctl(&["container", "cp", "web:/etc/passwd", &dir.path().join("passwd").to_string_lossy()]);
    solo.ctl(&["container", "commit", "web", "mine:1"]);
    let mut attached = solo.command(&["container", "attach", "web"]).spawn().expect("ctl starts");
    let until = |event: &str| {
        wait::until(event, SOON, || {
            let all = told(&solo, &["--filter", &format!("event={event}")]);
            if all.is_empty() { Err("it is not told".to_owned()) } else { Ok(all) }
        })
    };
    until("attach");
    attached.kill().and_then(|()| attached.wait()).expect("it was our child");
    until("detach");
    assert_eq!(until("health_status")[0]["action"], "health_status: healthy");
    solo.ctl(&["container", "rm", "-f", "web"]);
    solo.ctl(&["volume", "rm", "data"]);
    let of_it = told(&solo, &["--filter", "type=container"]);
    let named: Vec<&str> =
        actions(&of_it).into_iter().filter(|action| !action.starts_with("health")).collect();
    let expected = [
        "create",
        "start",
        "exec_create: true",
        "exec_start: true",
        "exec_die",
        "top",
        "archive-path",
        "commit",
        "attach",
        "detach",
        "kill",
        "die",
        "destroy",
    ];
    let rest = named.iter().filter(|action| !["pause", "unpause"].contains(action));
    assert!(rest.clone().eq(expected.iter()), "{:?}", rest.collect::<Vec<_>>());
    let volume = told(&solo, &["--filter", "volume=data"]);
    assert_eq!(actions(&volume), ["create", "mount", "unmount", "destroy"]);
    assert_eq!(
        (&volume[1]["attributes"]["destination"], &volume[1]["attributes"]["read/write"]),
        (&"/srv".into(), &"false".into())
    );
    assert_eq!(volume[1]["attributes"]["container"], of_it[0]["actor"]);
    assert_eq!(actions(&told(&solo, &["--filter", "type=network"])), ["connect", "disconnect"]);
    assert_eq!(actions(&told(&solo, &["--filter", "type=image"])), ["import", "pull", "tag"]);
    let commit = told(&solo, &["--filter", "event=commit"]);
    solo.ctl(&["volume", "create", "unused"]);
    std::fs::write(dir.path().join("data/agent/volumes/all/unused/data/file"), [0; 1_000]).expect("written");
    solo.ctl(&["volume", "prune", "--force", "--all"]);
    let volumes = told(&solo, &["--filter", "type=volume", "--filter", "event=prune"]);
    assert_eq!(volumes[0]["attributes"]["reclaimed"], "1000", "{volumes:?}");
    assert!(
        commit[0]["attributes"]["imageRef"].as_str().is_some_and(|name| name.ends_with("mine:1")),
        "{commit:?}"
    );
}
