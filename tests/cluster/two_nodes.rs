//! Two hosts, one cluster: tasks spread, and a lost host's tasks move.

use std::path::Path;
use std::process::{Child, Stdio};

use itest::dev::{self, create_web};
use itest::host::{Host, Lan};
use itest::programs;
use itest::wait;
use serde_json::Value;

use crate::{SOON, scratch};

/// A controller that was started by hand.
pub(crate) struct Controller<'h> {
    host: &'h Host,
    root: std::path::PathBuf,
    child: Option<Child>,
}

impl<'h> Controller<'h> {
    /// Starts it, waits for it, and makes its context the current one of `root`.
    pub(crate) fn start(host: &'h Host, root: &Path, address: &str) -> Self {
        let data = root.join("controller");
        let mut command = host.command(programs::ours("controller"));
        command.args(["--data-dir", &data.display().to_string(), "--listen", address]);
        let log =
            std::fs::File::create(root.join("controller.log")).expect("the test's directory is writable");
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("nsenter starts");
        let admin = |file: &str| data.join("admin").join(file);
        let context = serde_json::json!({ "current": "test", "contexts": { "test": {
            "controllers": [address],
            "root": admin("root.pem"),
            "cert": admin("cert.pem"),
            "key": admin("key.pem"),
            "agent": root.join("one/run/agent.sock"),
        } } });
        std::fs::write(root.join("config.json"), context.to_string())
            .expect("the test's directory is writable");
        let controller = Self { host, root: root.to_owned(), child: Some(child) };
        wait::until("the controller answers", SOON, || {
            let output =
                programs::output(&mut dev::ctl(controller.host, &controller.root, &["cluster", "info"]));
            if output.status.success() { Ok(()) } else { Err(programs::said(&output)) }
        });
        controller
    }

    /// The process alone; whoever takes it ends it.
    pub(crate) fn into_child(mut self) -> Child {
        self.child.take().expect("it was started")
    }

    #[track_caller]
    fn ctl(&self, arguments: &[&str]) -> String {
        programs::succeed(&mut dev::ctl(self.host, &self.root, arguments))
    }

    #[track_caller]
    fn attempt(&self, arguments: &[&str]) -> std::process::Output {
        programs::output(&mut dev::ctl(self.host, &self.root, arguments))
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ctl(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&text).expect("JSON")
    }

    /// How many tasks run on each node, by its name.
    fn spread(&self, service: &str) -> std::collections::BTreeMap<String, usize> {
        let mut count = std::collections::BTreeMap::new();
        let tasks = self.json(&["service", "ps", service]);
        for task in tasks.as_array().into_iter().flatten() {
            if task["state"] == "running" && task["desired_state"] == "running" {
                *count.entry(task["node"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        count
    }
}

impl Drop for Controller<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            dev::kill(child.id(), "TERM");
            let _ = child.wait();
        }
    }
}

/// Starts an agent that joins; its containers end when its standard input does.
pub(crate) fn agent(host: &Host, root: &Path, name: &str, controller: &str, listen: &str) -> Child {
    let token = programs::succeed(&mut dev::ctl(host, root, &["cluster", "token"]));
    let folder = root.join(name);
    std::fs::create_dir_all(&folder).expect("the test's directory is writable");
    let path = |part: &str| folder.join(part).display().to_string();
    let mut command = host.command(programs::ours("agent"));
    command.args(["--data-dir", &path("data"), "--run-dir", &path("run"), "--name", name]);
    command.args(["--join", controller, "--token", token.trim(), "--listen", listen, "--advertise", listen]);
    command.args(["--exit-with-stdin", "--stop-containers-on-exit"]);
    let log = std::fs::File::create(folder.join("agent.log")).expect("the test's directory is writable");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn().expect("nsenter starts")
}

#[test]
fn tasks_spread_over_two_nodes_and_leave_a_lost_one() {
    let (lan, dir) = (Lan::new(), scratch());
    let (first, second) = (lan.host("one"), lan.host("two"));
    let address = format!("{}:7443", first.address());
    let controller = Controller::start(&first, dir.path(), &address);
    let mut agents: Vec<Child> = [(&first, "one"), (&second, "two")]
        .into_iter()
        .map(|(host, name)| agent(host, dir.path(), name, &address, &format!("{}:7444", host.address())))
        .collect();
    wait::until("both nodes are ready", SOON, || {
        let nodes = controller.json(&["node", "ls"]);
        let ready =
            nodes.as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["status"] == "ready").count());
        if ready == 2 { Ok(()) } else { Err(nodes.to_string()) }
    });

    controller.ctl(&create_web("2"));
    assert_eq!(controller.spread("web").into_values().collect::<Vec<_>>(), [1, 1]);
    controller.ctl(&["service", "scale", "web=10"]);
    assert_eq!(controller.spread("web").into_values().collect::<Vec<_>>(), [5, 5]);
    for host in [&first, &second] {
        let answer =
            programs::succeed(host.command("curl").args(["-sS", "--max-time", "5", "localhost:8080"]));
        assert!(answer.contains("service web"), "{answer}");
    }
    let logs = controller.ctl(&["service", "logs", "web"]);
    assert!(logs.contains("@one | ") && logs.contains("@two | "), "logs of both nodes: {logs}");

    containers_are_reached_by_their_nodes_name(&controller);

    dev::kill(agents[1].id(), "KILL");
    let _ = agents[1].wait();
    wait::until("the lost node's tasks run on the other one", SOON + SOON, || {
        let spread = controller.spread("web");
        if spread.get("one") == Some(&10) { Ok(()) } else { Err(format!("{spread:?}")) }
    });
    agents[1] = agent(&second, dir.path(), "two", &address, &format!("{}:7444", second.address()));
    wait::until("the node is back and has ended its old tasks", SOON, || {
        let containers = containers_of(dir.path().join("two/data").as_path());
        let nodes = controller.json(&["node", "ls"]);
        let ready =
            nodes.as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["status"] == "ready").count());
        if ready == 2 && containers == 0 { Ok(()) } else { Err(format!("{containers} containers; {nodes}")) }
    });
    controller.ctl(&["service", "rm", "web"]);
    for mut agent in agents {
        drop(agent.stdin.take());
        let _ = agent.wait();
    }
}

fn containers_are_reached_by_their_nodes_name(controller: &Controller<'_>) {
    for name in ["one", "two"] {
        let listed = controller.json(&["container", "ls", "--node", name]);
        assert_eq!(listed.as_array().map(Vec::len), Some(5), "{listed}");
    }
    controller.ctl(&["container", "run", "-d", "--node", "two", "--name", "far", "roadstead/hello"]);
    let logs = ["container", "logs", "--node", "two", "far"];
    wait::until("its log is read from afar", SOON, || {
        let text = controller.ctl(&logs);
        if text.contains("listening on") { Ok(()) } else { Err(text) }
    });
    let here = controller.json(&["container", "ls", "--node", "one"]).to_string();
    assert!(!here.contains("\"far\""), "{here}");
    controller.ctl(&["container", "rm", "--force", "--node", "two", "far"]);
    let unknown = controller.attempt(&["container", "ls", "--node", "three"]);
    assert!(programs::said(&unknown).contains("there is no node \"three\""), "{unknown:?}");
}

fn containers_of(data: &Path) -> usize {
    std::fs::read_dir(data.join("containers")).map_or(0, Iterator::count)
}
