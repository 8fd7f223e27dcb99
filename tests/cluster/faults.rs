//! What must not be noticed, or only for a moment: many tasks at once, updates
//! under load, a keeper or a controller that is killed.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use itest::dev::{self, Dev};
use itest::host::Host;
use itest::{inventory, programs, wait};

use crate::two_nodes::{self, Controller};
use crate::{SOON, answers_from, scratch};

/// Repeats `watch` on a thread of its own while `work` is done.
fn meanwhile<T: Send>(watch: impl Fn() -> T + Sync, work: impl FnOnce()) -> Vec<T> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                seen.push(watch());
                std::thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // Also after a failure: the scope waits for the watcher.
        done.store(true, Ordering::Relaxed);
        let seen = watcher.join().expect("the watch does not panic");
        worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        seen
    })
}

#[test]
fn two_hundred_tasks_start_and_end_with_the_node_alive_and_leave_nothing() {
    let (host, dir) = (Host::new("many"), scratch());
    let dev = Dev::start(&host, dir.path(), &[]);
    dev.ctl(&["service", "create", "--name", "web", "--replicas", "0", "roadstead/hello"]);
    let before = inventory::of(&host, dev.root());
    let node = || programs::succeed(&mut dev::ctl(&host, dir.path(), &["node", "ls"]));
    let seen = meanwhile(node, || {
        dev.ctl(&["service", "scale", "--timeout", "60", "web=200"]);
        assert_eq!(dev.running("web").len(), 200);
        dev.ctl(&["service", "scale", "--timeout", "60", "web=0"]);
    });
    assert!(seen.iter().all(|nodes| nodes.contains(" ready ")), "{seen:?}");
    wait::until("nothing is left of two hundred tasks", SOON, || {
        let left = inventory::added(&before, &inventory::of(&host, dev.root()));
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn no_request_is_refused_while_all_tasks_are_replaced() {
    let (host, dir) = (Host::new("drain"), scratch());
    let dev = Dev::start(&host, dir.path(), &[]);
    let create =
        ["service", "create", "--name", "web", "--replicas", "3", "-p", "8080:80", "roadstead/hello"];
    dev.ctl(&create);
    answers_from(&dev, "localhost:8080", 3);
    let ask = || {
        let output =
            programs::output(host.command("curl").args(["-sS", "-m", "5", "localhost:8080/healthz"]));
        if output.status.success() { None } else { Some(programs::said(&output)) }
    };
    let refused = meanwhile(ask, || {
        dev.ctl(&["service", "update", "--env-add", "A=1", "web"]);
        dev.ctl(&["service", "scale", "web=1"]);
    });
    assert!(refused.iter().all(Option::is_none), "{refused:?}");
}

#[test]
fn a_killed_keeper_is_replaced_and_so_are_its_tasks() {
    let (host, dir) = (Host::new("keeper"), scratch());
    let dev = Dev::start(&host, dir.path(), &[]);
    let before = inventory::of(&host, dev.root());
    dev.ctl(&["service", "create", "--name", "web", "--replicas", "3", "-p", "8080:80", "roadstead/hello"]);
    let old = dev.running("web");
    dev::kill(dev.pid_of("agent", "keeper"), "KILL");
    wait::until("three other tasks run", SOON, || {
        let now = dev.running("web");
        let other = now.len() == 3 && now.iter().all(|task| old.iter().all(|gone| gone["id"] != task["id"]));
        if other { Ok(()) } else { Err(format!("{now:?}")) }
    });
    answers_from(&dev, "localhost:8080", 3);
    let history = dev.json(&["service", "ps", "web"]).to_string();
    assert!(history.contains("the keeper ended, and its containers with it"), "{history}");
    dev.ctl(&["service", "rm", "web"]);
    wait::until("nothing is left of either", SOON, || {
        let left = inventory::added(&before, &inventory::of(&host, dev.root()));
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn whoever_waits_finds_a_controller_that_was_killed_and_started_again() {
    let (host, dir, address) = (Host::new("again"), scratch(), "127.0.0.1:7443");
    let controller = Controller::start(&host, dir.path(), address);
    // Ends, with its containers, when its standard input is dropped.
    let mut agent = two_nodes::agent(&host, dir.path(), "one", address, "127.0.0.1:7444");
    let ctl = |arguments: &[&str]| programs::output(&mut dev::ctl(&host, dir.path(), arguments));
    let create = ["service", "create", "--name", "web", "--replicas", "60", "roadstead/hello"];
    let mut command = dev::ctl(&host, dir.path(), &create);
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ctl starts");
    wait::until("the service is acknowledged", SOON, || {
        let services = programs::said(&ctl(&["service", "ls"]));
        if services.contains("web") { Ok(()) } else { Err(services) }
    });
    let mut controller = controller.into_child();
    dev::kill(controller.id(), "KILL");
    let _ = controller.wait();
    let controller = Controller::start(&host, dir.path(), address);
    let waited = waiting.wait_with_output().expect("ctl ends");
    assert!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stderr));
    let tasks = programs::said(&ctl(&["service", "ps", "web"]));
    assert_eq!(tasks.matches(" running   running ").count(), 60, "{tasks}");
    assert!(!tasks.contains("shutdown"), "no task was replaced: {tasks}");

    let removing = dev::ctl(&host, dir.path(), &["service", "rm", "web"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ctl starts");
    wait::until("the removal is acknowledged", SOON, || {
        let services = programs::said(&ctl(&["service", "ls"]));
        if services.contains("web") { Err(services) } else { Ok(()) }
    });
    let mut controller = controller.into_child();
    dev::kill(controller.id(), "KILL");
    let _ = controller.wait();
    let controller = Controller::start(&host, dir.path(), address);
    let waited = removing.wait_with_output().expect("ctl ends");
    assert!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stderr));
    drop(agent.stdin.take());
    let _ = agent.wait();
    drop(controller);
}
