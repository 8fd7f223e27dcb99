//! `ctl dev` itself: it stops what it started, keeps the data, and says what is
//! wrong when it can't start.

use std::process::Stdio;
use std::time::Instant;

use itest::dev::{self, Dev};
use itest::host::Host;
use itest::{inventory, wait};

use crate::{SOON, answers_from, failure, scratch};

#[test]
fn ctrl_c_stops_everything_and_keeps_the_data() {
    let (host, dir) = (Host::new("dev"), scratch());
    let before = inventory::of(&host, dir.path());
    let mut dev = Dev::start(&host, dir.path(), &["--demo"]);
    assert!(dev.wait_for_note("Ctrl-C").is_ok());
    answers_from(&dev, "localhost:8080", 3);
    dev.stop();
    let mut now = inventory::of(&host, dir.path());
    // The records and files of containers are data, and the data stays.
    now.retain(|line| !["state ", "snapshot ", "file "].iter().any(|kind| line.starts_with(kind)));
    assert_eq!(inventory::added(&before, &now), "", "something is left on the host");

    let mut again = Dev::start(&host, dir.path(), &[]);
    let services = again.json(&["service", "ls"]);
    assert_eq!(services[0]["name"], "hello", "the service is forgotten: {services}");
    answers_from(&again, "localhost:8080", 3);
    let info = again.json(&["info"]);
    let cluster = (&info["cluster"]["nodes"], &info["cluster"]["services"], &info["agent"]["session"]);
    assert_eq!(cluster, (&1.into(), &1.into(), &true.into()), "a node tells about its cluster: {info}");
    let node = info["agent"]["node_name"].as_str().expect("a name");
    assert_eq!(again.json(&["info", "--node", node])["host"], info["host"], "from afar it is the same");
    again.stop();

    let fresh = Dev::start(&host, dir.path(), &["--reset"]);
    assert_eq!(fresh.json(&["service", "ls"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn tasks_come_back_at_once_however_often_the_cluster_is_stopped() {
    let (host, dir) = (Host::new("again"), scratch());
    let mut dev = Dev::start(&host, dir.path(), &["--demo"]);
    for _ in 0..3 {
        answers_from(&dev, "localhost:8080", 3);
        dev.stop();
        dev = Dev::start(&host, dir.path(), &[]);
    }
    answers_from(&dev, "localhost:8080", 3);
    let tasks = dev.json(&["service", "ps", "hello"]);
    let failed = |task: &&serde_json::Value| task["state"] == "failed";
    let failed: Vec<_> = tasks.as_array().into_iter().flatten().filter(failed).collect();
    assert!(failed.is_empty(), "being stopped counts as a failure: {failed:?}");
}

#[test]
fn a_ctrl_c_that_is_delivered_twice_still_stops_the_containers() {
    let (host, dir) = (Host::new("twice"), scratch());
    let mut dev = Dev::start(&host, dir.path(), &["--demo"]);
    answers_from(&dev, "localhost:8080", 3);
    dev::kill(dev.pid_of("ctl", "dev"), "INT");
    dev.stop();
}

#[test]
fn nothing_outlives_a_killed_ctl_dev() {
    let (host, dir) = (Host::new("orphan"), scratch());
    let dev = Dev::start(&host, dir.path(), &["--demo"]);
    answers_from(&dev, "localhost:8080", 1);
    dev::kill(dev.pid_of("ctl", "dev"), "KILL");
    wait::until("agent, keeper, controller and containers end", SOON + SOON, || {
        let alive = dev::processes_of(dir.path());
        if alive.is_empty() { Ok(()) } else { Err(format!("{alive:?}")) }
    });
}

#[test]
fn what_stands_in_the_way_is_said_within_ten_seconds() {
    let (host, dir) = (Host::new("wrong"), scratch());
    let mut listener =
        host.command("busybox").args(["nc", "-l", "-p", "7443"]).spawn().expect("busybox starts");
    wait::until("the port is taken", SOON, || {
        let listening = itest::programs::succeed(host.command("ss").args(["-ltn"]));
        if listening.contains(":7443") { Ok(()) } else { Err(listening) }
    });
    let data = dir.path().join("data").display().to_string();
    let started = Instant::now();
    let line = ["dev", "--data-dir", &data];
    let (exit, said) = failure(&itest::programs::output(&mut dev::ctl(&host, dir.path(), &line)));
    assert!(said.contains("7443") && said.contains("--controller") && exit == 9, "{exit}: {said}");
    let _ = listener.kill();
    let _ = listener.wait();

    let mut command = host.command("setpriv");
    command.args(["--reuid", "65534", "--clear-groups"]).arg(itest::programs::ours("ctl")).args(line);
    let (exit, said) = failure(&itest::programs::output(command.stdin(Stdio::null())));
    assert!(said.contains("root") && exit == 9, "{exit}: {said}");

    std::fs::create_dir_all(dir.path().join("mine")).expect("made");
    std::fs::write(dir.path().join("mine/file"), "x").expect("written");
    let mine = dir.path().join("mine").display().to_string();
    let line = ["dev", "--reset", "--data-dir", &mine];
    let (exit, said) = failure(&itest::programs::output(&mut dev::ctl(&host, dir.path(), &line)));
    assert!(said.contains("not made by") && exit == 9, "{exit}: {said}");
    assert!(dir.path().join("mine/file").exists());
    assert!(started.elapsed().as_secs() < 10, "it took {:?}", started.elapsed());
}
