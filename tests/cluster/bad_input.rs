//! Mistakes: one clear message each, an exit code that is not 0, nothing left.

use std::collections::BTreeSet;

use itest::dev::{self, Dev, create_web};
use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::{image, inventory, wait};

use crate::{SOON, failure, scratch};

/// Runs `ctl`, which must fail, and checks its message.
#[track_caller]
fn refused(dev: &Dev<'_>, arguments: &[&str], code: i32, words: &[&str]) {
    let (exit, said) = failure(&dev.try_ctl(arguments));
    for word in words {
        assert!(said.contains(word), "{arguments:?} does not say {word:?}: {said}");
    }
    assert_eq!(exit, code, "{arguments:?}: {said}");
    let error_lines = said.lines().filter(|line| line.contains("error:")).count();
    assert_eq!(error_lines, 1, "{arguments:?} does not say it once: {said}");
}

#[track_caller]
fn nothing_left(dev: &Dev<'_>, host: &Host, before: &BTreeSet<String>) {
    wait::until("nothing half-made is left", SOON, || {
        let left = inventory::added(before, &inventory::of(host, dev.root()));
        let services = dev.json(&["service", "ls"]);
        if left.is_empty() && services.as_array().is_some_and(Vec::is_empty) {
            Ok(())
        } else {
            Err(format!("{services} {left}"))
        }
    });
}

#[test]
fn a_service_that_cannot_be_is_refused_and_leaves_nothing() {
    let (host, dir) = (Host::new("bad"), scratch());
    let _registry = Registry::start(&host, dir.path());
    let dev = Dev::start(&host, dir.path(), &[]);
    let before = inventory::of(&host, dir.path());
    let create = |rest: &[&'static str]| [&["service", "create", "--name", "bad"], rest].concat();

    refused(&dev, &create(&["--replicas", "-1", "roadstead/hello"]), 2, &["replicas", "below 0"]);
    refused(&dev, &create(&["--replicas", "10001", "roadstead/hello"]), 6, &["replicas", "10000"]);
    refused(&dev, &create(&["--memory", "1k", "roadstead/hello"]), 6, &["memory", "6"]);
    refused(&dev, &["service", "create", "--name", "Not A Name", "roadstead/hello"], 6, &["name"]);
    refused(&dev, &create(&["--log-driver", "syslog", "roadstead/hello"]), 6, &["logging", "json-file"]);
    refused(&dev, &create(&["--log-opt", "max-sise=1m", "roadstead/hello"]), 6, &["logging", "max-size"]);
    refused(&dev, &create(&["--log-opt", "max-size=lots", "roadstead/hello"]), 7, &["max-size", "10m"]);
    refused(&dev, &create(&["NOT//AN IMAGE"]), 6, &["image"]);
    refused(&dev, &create(&["localhost:5000/none:1"]), 7, &["localhost:5000/none:1", "not found"]);
    refused(&dev, &create(&["localhost:5999/none:1"]), 7, &["localhost:5999", "refused"]);
    refused(&dev, &["service", "scale", "none=3"], 3, &["none"]);
    refused(&dev, &["service", "rm", "none"], 3, &["none"]);
    refused(&dev, &["service", "logs", "none"], 3, &["none"]);
    nothing_left(&dev, &host, &before);
}

#[test]
fn names_and_ports_that_are_taken_are_named() {
    let (host, dir) = (Host::new("taken"), scratch());
    let dev = Dev::start(&host, dir.path(), &[]);
    let before = inventory::of(&host, dir.path());
    dev.ctl(&["service", "create", "--name", "web", "--publish", "8080:80", "roadstead/hello"]);
    refused(&dev, &["service", "create", "--name", "web", "roadstead/hello"], 4, &["web", "taken"]);
    let other = ["service", "create", "--name", "other", "--publish", "8080:80", "roadstead/hello"];
    refused(&dev, &other, 4, &["8080", "web"]);
    dev.ctl(&["service", "rm", "web"]);

    let mut listener =
        host.command("busybox").args(["nc", "-l", "-p", "8080"]).spawn().expect("busybox starts");
    wait::until("the port is taken", SOON, || {
        let listening = itest::programs::succeed(host.command("ss").args(["-ltn"]));
        if listening.contains(":8080") { Ok(()) } else { Err(listening) }
    });
    refused(&dev, &other, 7, &["8080", "in use"]);
    let run = ["container", "run", "--rm", "-p", "8080:80", "roadstead/hello"];
    refused(&dev, &run, 125, &["8080", "in use"]);
    let _ = listener.kill();
    let _ = listener.wait();
    nothing_left(&dev, &host, &before);
}

#[test]
fn a_container_that_cannot_run_says_why_and_leaves_nothing() {
    let (host, dir) = (Host::new("run"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let dev = Dev::start(&host, dir.path(), &[]);
    let before = inventory::of(&host, dir.path());
    let name = format!("{ADDRESS}/busybox:1");
    let run = |rest: &[&str]| {
        let line = [&["container", "run", "--rm"], rest].concat();
        failure(&dev.try_ctl(&line))
    };
    let cases: [(&[&str], i32, &str); 6] = [
        (&[&name, "no-such-program"], 127, "no-such-program"),
        (&[&name, "/etc/passwd"], 126, "/etc/passwd"),
        (&["--memory", "1k", &name, "true"], 125, "memory"),
        (&["--user", "nobody-knows", &name, "true"], 125, "nobody-knows"),
        (&["localhost:5000/none:1", "true"], 125, "not found"),
        (&[&name, "sh", "-c", "exit 42"], 42, ""),
    ];
    for (line, code, word) in cases {
        let (exit, said) = run(line);
        assert_eq!(exit, code, "{line:?}: {said}");
        assert!(said.contains(word), "{line:?}: {said}");
    }
    nothing_left(&dev, &host, &before);
}

#[test]
fn a_failed_update_is_rolled_back_and_the_old_tasks_go_on() {
    let (host, dir) = (Host::new("roll"), scratch());
    let _registry = Registry::start(&host, dir.path());
    let dev = Dev::start(&host, dir.path(), &[]);
    dev.ctl(&create_web("2"));
    let pids = |dev: &Dev<'_>| dev.running("web").iter().map(|task| task["pid"].clone()).collect::<Vec<_>>();
    let before = pids(&dev);
    refused(
        &dev,
        &["service", "update", "--image", "localhost:5000/none:1", "web"],
        7,
        &["rolled back", "none:1"],
    );
    assert_eq!(pids(&dev), before, "the running tasks were touched");
    assert!(dev.curl("localhost:8080/healthz").is_ok());
    dev.ctl(&["service", "scale", "web=3"]);
}

#[test]
fn a_controller_that_is_down_is_named_with_its_address() {
    let (host, dir) = (Host::new("down"), scratch());
    let mut dev = Dev::start(&host, dir.path(), &[]);
    dev.stop();
    let output = itest::programs::output(&mut dev::ctl(&host, dir.path(), &["service", "ls"]));
    let (exit, said) = failure(&output);
    assert_eq!(exit, 5, "{said}");
    assert!(
        said.contains("127.0.0.1:7443") && said.contains("refused") && said.contains("ctl dev"),
        "{said}"
    );
}
