//! The life of a service on one node, command by command as a newcomer types it.

use std::time::Duration;

use itest::dev::{self, Dev, create_web};
use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::{image, inventory, wait};

use crate::{SOON, answers_from, scratch};

#[test]
fn a_service_is_created_scaled_healed_updated_and_removed() {
    let (host, dir) = (Host::new("one"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push(
        "other",
        "1",
        &image::busybox(&[
            "sh",
            "-c",
            "mkdir -p /tmp/w && echo other > /tmp/w/index.html && exec httpd -f -p 80 -h /tmp/w",
        ]),
    );
    let dev = Dev::start(&host, dir.path(), &[]);
    let before = inventory::of(&host, dir.path());

    create(&dev);
    scale(&dev);
    logs(&dev);
    nodes(&dev);
    heal(&dev);
    update(&dev);
    remove(&dev, &host, &before);
}

fn create(dev: &Dev<'_>) {
    dev.ctl(&create_web("3"));
    answers_from(dev, "localhost:8080", 3);
    assert_eq!(dev.curl("localhost:8080/healthz").as_deref(), Ok("ok\n"));
    let answer = dev.curl("localhost:8080").expect("it answers");
    for field in ["hello from ", "task ", "service web", "slot ", "node ", "address "] {
        assert!(answer.lines().any(|line| line.starts_with(field)), "{field:?} is missing in: {answer}");
    }
}

fn scale(dev: &Dev<'_>) {
    let output = dev.try_ctl(&["service", "scale", "web=10"]);
    let said = itest::programs::said(&output);
    assert!(
        output.status.success() && said.contains("web: 10/10"),
        "progress up to 10/10 is missing: {said}"
    );
    assert_eq!(dev.running("web").len(), 10);
    let table = dev.ctl(&["service", "ps", "web"]);
    for heading in ["TASK", "SLOT", "NODE", "DESIRED", "STATE", "SINCE", "ERROR"] {
        assert!(
            table.lines().next().is_some_and(|line| line.contains(heading)),
            "{heading} is missing in {table}"
        );
    }
    let slots: std::collections::BTreeSet<u64> =
        dev.running("web").iter().filter_map(|task| task["slot"].as_u64()).collect();
    assert_eq!(slots, (1..=10).collect());
    answers_from(dev, "localhost:8080", 10);
    let usage = dev.json(&["container", "stats", "--no-stream"]);
    let usage = usage.as_array().expect("a list of containers");
    let counted = |row: &&serde_json::Value| row["pids"] == 1 && row["pids_limit"] == 1024;
    assert_eq!((usage.len(), usage.iter().filter(counted).count()), (10, 10), "{usage:?}");
}

fn logs(dev: &Dev<'_>) {
    let text = wait::until("all ten tasks have logged a request", SOON, || {
        let text = dev.ctl(&["service", "logs", "web"]);
        let prefixes: std::collections::BTreeSet<&str> =
            text.lines().filter_map(|line| line.split(" | ").next()).collect();
        if prefixes.len() == 10 { Ok(text) } else { Err(format!("{prefixes:?}")) }
    });
    assert!(
        text.lines().all(|line| line.starts_with("web.") && line.contains('@') && line.contains(" | ")),
        "{text}"
    );
}

fn nodes(dev: &Dev<'_>) {
    let nodes = dev.json(&["node", "ls"]);
    assert_eq!(nodes[0]["status"], "ready", "{nodes}");
    assert_eq!(nodes[0]["tasks"], 10, "{nodes}");
}

fn heal(dev: &Dev<'_>) {
    let victim = dev.running("web").into_iter().find(|task| task["slot"] == 4).expect("slot 4 runs");
    let pid = victim["pid"].as_u64().expect("a running task has a process");
    dev::kill(u32::try_from(pid).expect("a pid"), "KILL");
    wait::until("a new task takes slot 4", Duration::from_secs(5), || {
        let tasks = dev.running("web");
        let taken = tasks.iter().any(|task| task["slot"] == 4 && task["id"] != victim["id"]);
        if taken && tasks.len() == 10 { Ok(()) } else { Err(format!("{} run", tasks.len())) }
    });
    let history = dev.json(&["service", "ps", "web"]);
    let old =
        history.as_array().and_then(|tasks| tasks.iter().find(|task| task["id"] == victim["id"]).cloned());
    let old = old.expect("the killed task stays in the history");
    assert_eq!((&old["state"], &old["exit_code"]), (&"failed".into(), &137.into()), "{old}");
}

fn update(dev: &Dev<'_>) {
    dev.ctl(&["service", "scale", "web=3"]);
    dev.ctl(&["service", "update", "--image", &format!("{ADDRESS}/other:1"), "web"]);
    let images: Vec<_> = dev.running("web").iter().map(|task| task["image"].clone()).collect();
    assert_eq!(images.len(), 3);
    assert!(
        images.iter().all(|image| image.as_str().is_some_and(|image| image.ends_with("/other:1"))),
        "{images:?}"
    );
    wait::until("the new image answers", SOON, || match dev.curl("localhost:8080") {
        Ok(text) if text == "other\n" => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

fn remove(dev: &Dev<'_>, host: &Host, before: &std::collections::BTreeSet<String>) {
    dev.ctl(&["service", "rm", "web"]);
    wait::until("nothing is left on the host", SOON, || {
        let now = inventory::of(host, dev.root());
        let left = inventory::added(before, &now);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    assert!(dev.curl("localhost:8080").is_err(), "the port still answers");
}

#[test]
fn followed_logs_carry_new_lines_of_all_tasks() {
    let (host, dir) = (Host::new("logs"), scratch());
    let dev = Dev::start(&host, dir.path(), &[]);
    dev.ctl(&create_web("2"));
    let mut command = dev::ctl(&host, dir.path(), &["service", "logs", "--follow", "web"]);
    let mut follower = command.stdout(std::process::Stdio::piped()).spawn().expect("ctl starts");
    let stdout = follower.stdout.take().expect("stdout is piped");
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)).map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    for _ in 0..8 {
        dev.curl("localhost:8080/healthz").expect("it answers");
    }
    let mut slots = std::collections::BTreeSet::new();
    while slots.len() < 2 {
        let line = lines.recv_timeout(SOON).expect("lines of both tasks arrive");
        if line.contains("/healthz") {
            slots.extend(line.split('.').nth(1).map(str::to_owned));
        }
    }
    dev::kill(follower.id(), "INT");
    assert!(follower.wait().expect("ctl ends").success(), "Ctrl-C ends it without an error");
}
