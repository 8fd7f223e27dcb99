//! The agent is killed while containers run: they go on, and the next agent
//! finds all of them, their logs and their exit codes.

use std::time::Duration;

use itest::dev::{self, Dev, create_web};
use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::{image, wait};
use serde_json::Value;

use crate::{SOON, answers_from, scratch};

/// Starts an agent again as `ctl dev` had started it.
fn restart_agent(host: &Host, line: &[String]) -> std::process::Child {
    let mut command = host.command(&line[0]);
    command.args(&line[1..]).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.spawn().expect("the agent starts")
}

fn command_line(pid: u32) -> Vec<String> {
    dev::processes().find(|(other, _)| *other == pid).expect("it runs").1
}

#[test]
fn containers_outlive_a_killed_agent_and_are_adopted() {
    let (host, dir) = (Host::new("adopt"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let mut cluster = Cluster::start(&host, dir.path());
    cluster.ctl(&create_web("3"));
    let counting = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; exit 7";
    let name = format!("{ADDRESS}/busybox:1");
    let id = cluster.ctl(&["container", "run", "-d", "--name", "counter", &name, "sh", "-c", counting]);
    let before = cluster.pids();

    let line = command_line(cluster.agent.id());
    cluster.kill_agent();
    for _ in 0..10 {
        assert!(
            cluster.curl("localhost:8080/healthz").is_ok(),
            "the service does not answer without its agent"
        );
        std::thread::sleep(Duration::from_millis(300));
    }
    std::thread::sleep(Duration::from_secs(2));
    cluster.agent = restart_agent(&host, &line);
    cluster.wait_for_agent();
    wait::until("the node is ready", SOON, || {
        let nodes = cluster.json(&["node", "ls"]);
        if nodes[0]["status"] == "ready" { Ok(()) } else { Err(nodes.to_string()) }
    });
    assert_eq!(cluster.pids(), before, "the tasks are other processes now");
    let exited = wait::until("the counter's end is known", SOON, || {
        let found = cluster.container("counter");
        if found["state"] == "exited" { Ok(found) } else { Err(found.to_string()) }
    });
    assert_eq!(exited["exit_code"], 7, "{exited}");
    let expected: Vec<String> = (0..40).map(|number| format!("line {number}")).collect();
    assert_eq!(cluster.ctl(&["container", "logs", id.trim()]).lines().collect::<Vec<_>>(), expected);
    assert!(cluster.curl("localhost:8080/healthz").is_ok());
    cluster.ctl(&["service", "scale", "web=5"]);
    cluster.ctl(&["service", "rm", "web"]);
    cluster.ctl(&["container", "rm", "counter"]);
}

#[test]
fn a_terminal_goes_on_when_the_agent_is_replaced() {
    let (host, dir) = (Host::new("term"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let mut cluster = Cluster::start(&host, dir.path());
    let name = format!("{ADDRESS}/busybox:1");
    let inner =
        format!("{} container run --rm -i --name shell {name} sh", itest::programs::ours("ctl").display());
    let mut command = host.command("sh");
    command.args(["-c", &inner]).env("ROADSTEAD_CONFIG", dir.path().join("config.json"));
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut shell = command.spawn().expect("ctl starts");
    let mut stdin = shell.stdin.take().expect("stdin is piped");
    let stdout = shell.stdout.take().expect("stdout is piped");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    let mut say = |text: &str| std::io::Write::write_all(&mut stdin, text.as_bytes()).expect("ctl reads");
    say("echo one\n");
    assert_eq!(lines.next().and_then(Result::ok).as_deref(), Some("one"));
    let line = command_line(cluster.agent.id());
    cluster.kill_agent();
    cluster.agent = restart_agent(&host, &line);
    std::thread::sleep(Duration::from_secs(2));
    say("echo two; exit 3\n");
    assert_eq!(lines.next().and_then(Result::ok).as_deref(), Some("two"));
    assert_eq!(shell.wait().expect("ctl ends").code(), Some(3));
    wait::until("--rm removed it", SOON, || match cluster.container("shell") {
        Value::Null => Ok(()),
        other => Err(other.to_string()),
    });
}

/// A controller and an agent as separate processes, so that one can be killed.
struct Cluster<'h> {
    host: &'h Host,
    root: std::path::PathBuf,
    controller: std::process::Child,
    agent: std::process::Child,
}

impl<'h> Cluster<'h> {
    fn start(host: &'h Host, root: &std::path::Path) -> Self {
        let cluster = crate::two_nodes::Controller::start(host, root, "127.0.0.1:7443");
        let agent = crate::two_nodes::agent(host, root, "one", "127.0.0.1:7443", "127.0.0.1:7444");
        let (root, controller) = (root.to_owned(), cluster.into_child());
        let cluster = Self { host, root, controller, agent };
        wait::until("the agent has joined", SOON, || {
            let nodes = cluster.json(&["node", "ls"]);
            if nodes[0]["status"] == "ready" { Ok(()) } else { Err(nodes.to_string()) }
        });
        answers_from_nothing(&cluster);
        cluster
    }

    fn wait_for_agent(&self) {
        wait::until("the agent answers", SOON, || {
            let output = itest::programs::output(&mut dev::ctl(self.host, &self.root, &["container", "ls"]));
            if output.status.success() { Ok(()) } else { Err(itest::programs::said(&output)) }
        });
    }

    fn kill_agent(&mut self) {
        dev::kill(self.agent.id(), "KILL");
        let _ = self.agent.wait();
    }

    #[track_caller]
    fn ctl(&self, arguments: &[&str]) -> String {
        itest::programs::succeed(&mut dev::ctl(self.host, &self.root, arguments))
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ctl(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&text).expect("JSON")
    }

    fn curl(&self, url: &str) -> Result<String, String> {
        let output = itest::programs::output(self.host.command("curl").args(["-sS", "--max-time", "5", url]));
        if output.status.success() { Ok(String::new()) } else { Err(itest::programs::said(&output)) }
    }

    fn container(&self, name: &str) -> Value {
        let all = self.json(&["container", "ls", "--all"]);
        let found =
            all.as_array().and_then(|all| all.iter().find(|container| container["name"] == name).cloned());
        found.unwrap_or_default()
    }

    fn pids(&self) -> Vec<Value> {
        let tasks = self.json(&["service", "ps", "web"]);
        tasks
            .as_array()
            .map(|tasks| tasks.iter().map(|task| task["pid"].clone()).collect())
            .unwrap_or_default()
    }
}

fn answers_from_nothing(cluster: &Cluster<'_>) {
    assert!(cluster.curl("localhost:8080").is_err(), "nothing is published yet");
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        // The pipe on its standard input ends with the child, and the agent stops its containers.
        drop(self.agent.stdin.take());
        let _ = self.agent.wait();
        dev::kill(self.controller.id(), "TERM");
        let _ = self.controller.wait();
    }
}

#[test]
fn a_dev_cluster_starts_what_was_killed_again() {
    let (host, dir) = (Host::new("devkill"), scratch());
    let mut dev = Dev::start(&host, dir.path(), &[]);
    dev.ctl(&["service", "create", "--name", "web", "--publish", "8080:80", "roadstead/hello"]);
    answers_from(&dev, "localhost:8080", 1);
    let served_by = dev.running("web")[0]["id"].clone();
    // What ends right after its start is told of, and not started again.
    std::thread::sleep(Duration::from_secs(5));
    for (program, argument) in [("agent", "--join"), ("controller", "--listen")] {
        dev::kill(dev.pid_of(program, argument), "KILL");
        let said = dev.wait_for_note(&format!("the {program} ended")).expect("ctl dev notices");
        assert!(said.contains("starting it again"), "{said}");
        answers_from(&dev, "localhost:8080", 1);
    }
    wait::until("the node is back", SOON, || {
        let nodes = dev.json(&["node", "ls"]);
        if nodes[0]["status"] == "ready" { Ok(()) } else { Err(nodes.to_string()) }
    });
    assert_eq!(dev.running("web")[0]["id"], served_by, "the container was replaced");
    dev.stop();
}
