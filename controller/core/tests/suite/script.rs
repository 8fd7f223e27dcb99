//! Runs tests/scripts/*.txt: input lines, `----`, expected output, an empty line. `UPDATE=1` rewrites them.
//!
//! Commands, one per line (`key=value` options in any order):
//! `node NAME [memory=MIB] [cpus=N] [label=k:v]`, `create NAME replicas=N [image=I] [memory=MIB] [port=P]
//! [parallelism=N] [on_failure=pause] [constraint=C]`, `scale NAME N`, `update NAME image=I ...`, `remove NAME`,
//! `kill NAME SLOT`, `image NAME good|reject|crash`, `disconnect NODE`, `connect NODE`, `leader` (another one),
//! `run SECONDS`, `settle`, and to look: `ps NAME`, `service NAME`, `nodes`, `explain NAME`, `agents`.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use controller_core::{
    Command, Event, FailureAction, NodeDescription, Protocol, PublishedPort, Resources, ServiceSpec,
    TaskState, explain::explain,
};

use crate::{
    agent::Behaviour,
    cluster::{Cluster, NODE, spec},
};

#[test]
fn every_script_does_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> =
        fs::read_dir(&folder).expect("the scripts are there").flatten().map(|e| e.path()).collect();
    paths.sort();
    assert!(paths.len() >= 8, "scripts are missing from {}", folder.display());
    for path in paths {
        let text = fs::read_to_string(&path).expect("a script can be read");
        let result = run(&text);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &result).expect("a script can be written");
        } else {
            assert!(text == result, "{}: expected\n{text}\nfound\n{result}", path.display());
        }
    }
}

/// The script with what really happened in place of what was expected.
fn run(text: &str) -> String {
    let mut cluster = Cluster::empty();
    let mut result = String::new();
    let mut input = Vec::new();
    let mut expecting = false;
    for line in text.lines().chain([""]) {
        match (expecting, line) {
            (false, "----") => {
                let _ = writeln!(result, "----");
                for command in input.drain(..) {
                    result.push_str(&perform(&mut cluster, command));
                }
                expecting = true;
            }
            (false, line) => {
                if !line.is_empty() || !result.is_empty() && !result.ends_with("\n\n") {
                    let _ = writeln!(result, "{line}");
                }
                if !line.is_empty() && !line.starts_with('#') {
                    input.push(line);
                }
            }
            (true, "") => {
                let _ = writeln!(result);
                expecting = false;
            }
            (true, _) => {}
        }
    }
    assert!(input.is_empty(), "a script ends with ---- and what is expected: {input:?}");
    result.truncate(result.trim_end().len());
    result + "\n"
}

struct Words<'a>(Vec<&'a str>);

impl Words<'_> {
    fn at(&self, index: usize) -> &str {
        self.0.get(index).copied().unwrap_or_else(|| panic!("a word is missing in {:?}", self.0))
    }

    fn option(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.option(key).map(|text| text.parse().expect("the option is a number"))
    }
}

fn perform(cluster: &mut Cluster, line: &str) -> String {
    let words = Words(line.split_whitespace().collect());
    match words.at(0) {
        "node" => node(cluster, &words),
        "create" => create(cluster, &words),
        "scale" => {
            let replicas = words.at(2).parse().expect("the number of replicas");
            change(cluster, &words, |spec| spec.replicas = replicas)
        }
        "update" => change(cluster, &words, |spec| options(spec, &words)),
        "remove" => {
            cluster.remove(words.at(1));
            String::new()
        }
        "kill" => kill(cluster, &words),
        "image" => {
            let behaviour = match words.at(2) {
                "reject" => Behaviour::Reject,
                "crash" => Behaviour::Crash,
                _ => Behaviour::Run,
            };
            cluster.images.insert(words.at(1).into(), behaviour);
            String::new()
        }
        "disconnect" | "connect" => {
            cluster.connect(words.at(1), words.at(0) == "connect");
            String::new()
        }
        "leader" => {
            cluster.change_leader();
            String::new()
        }
        "run" => {
            let seconds: f64 = words.at(1).parse().expect("a number of seconds");
            cluster.run(Duration::from_secs_f64(seconds));
            String::new()
        }
        "settle" => {
            cluster.settle();
            String::new()
        }
        _ => look(cluster, &words),
    }
}

fn look(cluster: &Cluster, words: &Words<'_>) -> String {
    match words.at(0) {
        "ps" => ps(cluster, words.at(1)),
        "service" => service(cluster, words.at(1)),
        "nodes" => nodes(cluster),
        "explain" => {
            let id = cluster.service(words.at(1)).id;
            format!("{}\n", explain(&cluster.state, &id, cluster.now).expect("the service is there"))
        }
        "agents" => {
            let tasks = cluster.state.tasks().count();
            let running =
                |agent: &&crate::agent::Agent| cluster.state.tasks().any(|task| agent.runs(&task.id));
            format!("{tasks} tasks known, {} agents busy\n", cluster.agents.values().filter(running).count())
        }
        other => panic!("unknown command {other}"),
    }
}

fn node(cluster: &mut Cluster, words: &Words<'_>) -> String {
    let mut description =
        NodeDescription { capacity: NODE, os: "linux".into(), ..NodeDescription::default() };
    if let Some(memory) = words.number("memory") {
        description.capacity.memory_bytes = memory << 20;
    }
    if let Some(cpus) = words.number("cpus") {
        description.capacity.nano_cpus = cpus * 1_000_000_000;
    }
    if let Some((key, value)) = words.option("label").and_then(|label| label.split_once(':')) {
        description.labels.insert(key.into(), value.into());
    }
    let id = cluster.join_with(words.at(1), description);
    format!("{} joined\n", cluster.state.node(&id).expect("it has joined").name)
}

fn options(spec: &mut ServiceSpec, words: &Words<'_>) {
    if let Some(image) = words.option("image") {
        spec.container.image = image.into();
    }
    if let Some(memory) = words.number("memory") {
        spec.container.reservations = Resources { memory_bytes: memory << 20, ..Resources::default() };
    }
    if let Some(port) = words.number("port") {
        let published = u16::try_from(port).expect("a port");
        spec.ports = vec![PublishedPort { protocol: Protocol::Tcp, published, target: 80 }];
    }
    if let Some(parallelism) = words.number("parallelism") {
        spec.update.parallelism = u32::try_from(parallelism).expect("a small number");
    }
    if words.option("on_failure") == Some("pause") {
        spec.update.failure_action = FailureAction::Pause;
    }
    if let Some(constraint) = words.option("constraint") {
        spec.container.placement_constraints = vec![constraint.into()];
    }
}

fn answer(events: &[Event]) -> String {
    match events {
        [Event::Refused(refusal)] => format!("refused: {refusal}\n"),
        _ => String::new(),
    }
}

fn create(cluster: &mut Cluster, words: &Words<'_>) -> String {
    let replicas = u32::try_from(words.number("replicas").unwrap_or(1)).expect("a small number");
    let mut spec = spec(words.at(1), replicas, 0);
    options(&mut spec, words);
    let (id, at) = (cluster.ids.service(), cluster.now);
    answer(&cluster.apply(&Command::CreateService { id, spec, trace: None, at }))
}

fn change(cluster: &mut Cluster, words: &Words<'_>, change: impl FnOnce(&mut ServiceSpec)) -> String {
    let service = cluster.service(words.at(1));
    let (id, version, mut spec, at) = (service.id, service.version, service.spec.clone(), cluster.now);
    change(&mut spec);
    answer(&cluster.apply(&Command::UpdateService { id, version, spec, trace: None, at }))
}

fn kill(cluster: &mut Cluster, words: &Words<'_>) -> String {
    let (service, slot) = (cluster.service(words.at(1)).id, words.at(2).parse().expect("a slot"));
    let running = cluster.state.tasks_in_slot(&service, slot).find(|task| task.state == TaskState::Running);
    let Some(task) = running.cloned() else { return "nothing runs there\n".into() };
    let agent =
        task.node.and_then(|node| cluster.agents.get_mut(&node)).expect("a running task has an agent");
    agent.doomed.insert(task.id);
    String::new()
}

/// The tasks of a service by slot, oldest first. Also finds those of a removed one.
fn ps(cluster: &Cluster, name: &str) -> String {
    let mut tasks: Vec<_> = cluster.state.tasks().filter(|task| task.spec.service_name == name).collect();
    tasks.sort_by_key(|task| (task.slot, task.made_in));
    let mut text = String::new();
    for task in tasks {
        let node = task.node.and_then(|id| cluster.state.node(&id)).map_or("-", |node| node.name.as_str());
        let (slot, image, desired, state) = (task.slot, &task.spec.container.image, task.desired, task.state);
        let said = if task.error.is_empty() { &task.message } else { &task.error };
        let line = format!("{slot} {image} {node} {desired}/{state} {said}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if text.is_empty() { "no tasks\n".into() } else { text }
}

fn service(cluster: &Cluster, name: &str) -> String {
    let service = cluster.service(name);
    let running = cluster.running(name);
    let (image, replicas) = (&service.spec.container.image, service.spec.replicas);
    let update = &service.update;
    let line = format!("{image} {running}/{replicas} update {:?} {}", update.state, update.message);
    format!("{}\n", line.trim_end())
}

fn nodes(cluster: &Cluster) -> String {
    let mut nodes: Vec<_> = cluster.state.nodes().collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = String::new();
    for node in nodes {
        let usage = cluster.state.usage(&node.id);
        let (status, message) = (node.status, &node.status_message);
        let line = format!("{} {status:?} {} tasks {message}", node.name, usage.tasks);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
