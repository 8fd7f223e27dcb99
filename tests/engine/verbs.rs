//! What a person does to containers, verb by verb, and what is said when it
//! makes no sense; also by an agent that was killed and came back.

use std::path::Path;

use itest::host::Host;
use itest::programs;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, wait};

use crate::{SOON, scratch};

/// A host with an agent and an image of busybox.
struct Lab {
    host: Host,
    image: String,
}

impl Lab {
    fn new(name: &str) -> Self {
        Self { host: Host::new(name), image: format!("{ADDRESS}/busybox:1") }
    }

    fn start(&self, root: &Path) -> (Registry<'_>, Solo<'_>) {
        let registry = Registry::start(&self.host, root);
        registry.push("busybox", "1", &image::busybox(&["sh"]));
        (registry, Solo::start(&self.host, root))
    }
}

/// Runs a script in the background and answers the container's id.
fn run(solo: &Solo<'_>, image: &str, options: &[&str], script: &str) -> String {
    let arguments = [&["run", "-d"][..], options, &[image, "sh", "-c", script]].concat();
    solo.ctl(&arguments).trim().to_owned()
}

fn status(solo: &Solo<'_>, name: &str) -> String {
    let filter = format!("name=^{name}$");
    solo.json(&["ps", "-a", "--filter", &filter])[0]["status"].as_str().unwrap_or_default().to_owned()
}

fn state(solo: &Solo<'_>, name: &str) -> String {
    solo.json(&["container", "inspect", name])[0]["state"]["status"].as_str().unwrap_or_default().to_owned()
}

fn until_logged(solo: &Solo<'_>, name: &str, text: &str) {
    wait::until("the container says so", SOON, || {
        let log = solo.ctl(&["logs", name]);
        if log.contains(text) { Ok(()) } else { Err(log) }
    });
}

#[test]
fn a_container_is_made_started_restarted_and_stopped() {
    let (lab, dir) = (Lab::new("verb"), scratch());
    let (_registry, mut solo) = lab.start(dir.path());
    let made = ["container", "create", "--name", "web", &lab.image, "sh", "-c"];
    let script = "echo up; trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done";
    let id = solo.ctl(&[&made[..], &[script]].concat()).trim().to_owned();
    assert_eq!((state(&solo, "web").as_str(), status(&solo, "web").as_str()), ("created", "Created"));
    assert_eq!(solo.ctl(&["container", "stop", "web"]), "web\n", "what never ran is stopped");
    assert_eq!(solo.ctl(&["container", "start", &id[..8]]), format!("{}\n", &id[..8]));
    until_logged(&solo, "web", "up");
    solo.kill_agent();
    solo.start_again();
    assert!(status(&solo, "web").starts_with("Up "), "{}", status(&solo, "web"));
    let first = solo.json(&["container", "inspect", "web"])[0]["state"]["pid"].clone();
    solo.ctl(&["container", "restart", "web"]);
    let second = solo.json(&["container", "inspect", "web"])[0]["state"]["pid"].clone();
    assert!(second.is_number() && first != second, "{first} {second}");
    until_logged(&solo, "web", "up\nbye\nup");
    assert_eq!(solo.ctl(&["container", "stop", "-t", "20", "web"]), "web\n");
    assert_eq!(solo.ctl(&["container", "wait", "web"]), "3\n");
    assert!(status(&solo, "web").starts_with("Exited (3) "), "{}", status(&solo, "web"));
    // The last word goes to whom is attached, as with run.
    let attached =
        solo.command(&["container", "start", "-a", "web"]).stdout(std::process::Stdio::piped()).spawn();
    let attached = attached.expect("ctl starts");
    wait::until("it runs again", SOON, || match state(&solo, "web").as_str() {
        "running" => Ok(()),
        other => Err(other.to_owned()),
    });
    wait::until("it has said up three times", SOON, || {
        let log = solo.ctl(&["logs", "web"]);
        if log.matches("up").count() == 3 { Ok(()) } else { Err(log) }
    });
    solo.ctl(&["container", "kill", "--signal", "SIGTERM", "web"]);
    let output = attached.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), &*output.stdout),
        (Some(3), &b"up\nbye\n"[..]),
        "{}",
        programs::said(&output)
    );
    solo.ctl(&["container", "rm", "web"]);
}

#[test]
fn a_paused_container_stays_so_when_the_agent_is_killed() {
    let (lab, dir) = (Lab::new("paus"), scratch());
    let (_registry, mut solo) = lab.start(dir.path());
    run(&solo, &lab.image, &["--name", "one"], "sleep 1000");
    run(&solo, &lab.image, &["--name", "two"], "sleep 1000");
    assert_eq!(solo.ctl(&["container", "pause", "one", "two"]), "one\ntwo\n");
    solo.kill_agent();
    solo.start_again();
    assert!(status(&solo, "one").ends_with(" (Paused)"), "{}", status(&solo, "one"));
    let (code, said) = solo.refused(&["container", "pause", "one"]);
    assert!(code != 0 && said.contains("paused"), "{said}");
    assert_eq!(solo.json(&["ps", "--filter", "status=paused"]).as_array().map(Vec::len), Some(2));
    solo.ctl(&["container", "unpause", "two"]);
    assert_eq!((state(&solo, "one").as_str(), state(&solo, "two").as_str()), ("paused", "running"));
    solo.ctl(&["container", "kill", "one"]);
    assert_eq!(solo.ctl(&["container", "wait", "one"]), "137\n");
    solo.ctl(&["container", "rm", "-f", "one", "two"]);
}

#[test]
fn several_containers_are_treated_each_for_itself() {
    let (lab, dir) = (Lab::new("many"), scratch());
    let (_registry, solo) = lab.start(dir.path());
    let one = run(&solo, &lab.image, &["--name", "one"], "sleep 1000");
    run(&solo, &lab.image, &["--name", "two"], "sleep 1000");
    let output = solo.try_ctl(&["container", "kill", "one", "nobody", "two"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b"one\ntwo\n"[..]));
    assert!(programs::said(&output).contains("nobody"));
    // Both have ended of it, and one failure alone keeps its own exit code.
    assert_eq!(solo.ctl(&["container", "wait", "one", "two"]), "137\n137\n");
    assert_eq!(solo.refused(&["container", "kill", "nobody"]).0, 3);
    assert_eq!(solo.refused(&["container", "kill", "one"]).0, 6);
    assert_eq!(solo.refused(&["container", "kill", "-s", "NOPE", "one"]).0, 6);
    assert_eq!(solo.refused(&["container", "start", "-a", "one", "two"]).0, 2);
    assert_eq!(solo.ctl(&["container", "rm", "two", &one[..12]]), format!("two\n{}\n", &one[..12]));
}

#[test]
fn names_are_unique_and_are_kept_by_a_killed_agent() {
    let (lab, dir) = (Lab::new("name"), scratch());
    let (_registry, mut solo) = lab.start(dir.path());
    for name in ["one", "two"] {
        solo.ctl(&["container", "create", "--name", name, &lab.image, "true"]);
    }
    assert_eq!(solo.refused(&["container", "rename", "one", "two"]).0, 4);
    assert_eq!(solo.refused(&["container", "rename", "one", "a/b"]).0, 6);
    assert_eq!(solo.refused(&["container", "rename", "none", "x"]).0, 3);
    solo.ctl(&["container", "rename", "one", "three"]);
    solo.kill_agent();
    solo.start_again();
    assert_eq!(state(&solo, "three"), "created");
    solo.ctl(&["container", "rename", "two", "one"]);
    solo.ctl(&["container", "rm", "one", "three"]);
}

#[test]
fn lists_show_what_is_asked_for() {
    let (lab, dir) = (Lab::new("list"), scratch());
    let (_registry, solo) = lab.start(dir.path());
    run(
        &solo,
        &lab.image,
        &["--name", "web", "-p", "8080:80"],
        "dd if=/dev/zero of=/file bs=1000 count=100; sleep 1000",
    );
    solo.ctl(&["container", "create", "--name", "job", &lab.image, "true"]);
    run(&solo, &lab.image, &["--name", "done"], "exit 4");
    assert_eq!(solo.ctl(&["container", "wait", "done"]), "4\n");
    let names = |arguments: &[&str]| -> Vec<String> {
        let listed = solo.json(&[&["ps"], arguments].concat());
        let rows = listed.as_array().expect("an array");
        rows.iter().map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["web"]);
    assert_eq!(names(&["-a"]), ["done", "job", "web"], "the newest first");
    assert_eq!(names(&["-n", "2"]), ["done", "job"]);
    assert_eq!(names(&["-l"]), ["done"]);
    assert_eq!(names(&["--filter", "exited=4"]), Vec::<String>::new(), "it does not run");
    assert_eq!(names(&["-a", "--filter", "exited=4"]), ["done"]);
    assert_eq!(names(&["--filter", "status=created", "--filter", "status=running"]), ["job", "web"]);
    assert_eq!(names(&["-a", "--filter", "before=done", "--filter", "publish=8080"]), ["web"]);
    let table = solo.ctl(&["ps"]);
    let heading: Vec<&str> = table.lines().next().unwrap_or_default().split("  ").collect();
    assert_eq!(heading.first(), Some(&"CONTAINER ID"), "{table}");
    assert!(table.contains("Up ") && table.contains("8080:80/tcp"), "{table}");
    let id = solo.ctl(&["ps", "-q", "--no-trunc"]);
    assert_eq!((id.trim().len(), solo.ctl(&["ps", "-q"]).trim()), (64, &id[..12]));
    wait::until("it has written", SOON, || {
        let size = solo.json(&["ps", "-s"])[0]["size_bytes"].as_u64().unwrap_or_default();
        if size >= 100_000 { Ok(()) } else { Err(size.to_string()) }
    });
    assert_eq!(solo.refused(&["ps", "--filter", "colour=red"]).0, 6);
    let named = solo.ctl(&["ps", "--format", "table {{.Names}}\\t{{.State}}\\t{{.Label \"none\"}}"]);
    assert_eq!(named, "NAMES   STATE     LABEL\nweb     running\n");
    assert_eq!(solo.ctl(&["container", "port", "web"]), "80/tcp -> 0.0.0.0:8080\n");
    assert_eq!(solo.ctl(&["container", "port", "web", "80"]), "0.0.0.0:8080\n");
    assert_eq!(solo.refused(&["container", "port", "web", "81"]).0, 3);
    solo.ctl(&["container", "rm", "-f", "web", "job", "done"]);
}

#[test]
fn inspecting_and_top_tell_what_the_host_sees_and_no_container_can_steer_a_terminal() {
    let (lab, dir) = (Lab::new("look"), scratch());
    let (_registry, solo) = lab.start(dir.path());
    let options = ["--name", "web", "-e", "MINE=yes", "-m", "64m", "--hostname", "box"];
    let id = run(&solo, &lab.image, &options, "sleep $(printf '1000\\033[2J') & sleep 1000");
    let found = solo.json(&["container", "inspect", "web"])[0].clone();
    assert_eq!((&found["id"], &found["name"]), (&id.as_str().into(), &"web".into()));
    assert_eq!(found["limits"]["memory_bytes"], 64 << 20);
    assert_eq!((&found["hostname"], &found["state"]["running"]), (&"box".into(), &true.into()));
    assert!(found["env"].as_array().is_some_and(|env| env.contains(&"MINE=yes".into())), "{found}");
    assert!(Path::new(found["log_path"].as_str().unwrap_or_default()).exists(), "{found}");
    assert!(found["network"]["address"].is_string() && found["state"]["started_at"].is_string(), "{found}");
    let processes = solo.json(&["container", "top", "web"]);
    let pids: Vec<_> = processes.as_array().expect("an array").iter().map(|row| &row["pid"]).collect();
    assert!(pids.contains(&&found["state"]["pid"]), "{processes}");
    assert_eq!(processes[0]["container_pid"], 1);
    assert!(processes[0]["user"].as_u64().is_some_and(|user| user >= 1_048_576), "{processes}");
    let table = solo.ctl(&["container", "top", "web"]);
    assert!(!table.contains('\u{1b}'), "{table:?}");
    solo.ctl(&["container", "stop", "-t", "0", "web"]);
    assert_eq!(solo.refused(&["container", "top", "web"]).0, 6);
    assert_eq!(solo.refused(&["container", "inspect", "nobody"]).0, 3);
    solo.ctl(&["container", "rm", "web"]);
}

#[test]
fn pruning_asks_first_and_takes_only_what_does_not_run() {
    let (lab, dir) = (Lab::new("prun"), scratch());
    let (_registry, solo) = lab.start(dir.path());
    run(&solo, &lab.image, &["--name", "runs"], "sleep 1000");
    solo.ctl(&["container", "create", "--name", "made", &lab.image, "true"]);
    run(&solo, &lab.image, &["--name", "done"], "dd if=/dev/zero of=/file bs=1000 count=100");
    solo.ctl(&["container", "wait", "done"]);
    let (code, said) = solo.refused(&["container", "prune"]);
    assert!(code == 2 && said.contains("--force"), "{code}: {said}");
    assert_eq!(solo.refused(&["container", "prune", "--filter", "colour=red"]).0, 2);
    let kept = solo.json(&["container", "prune", "--force", "--filter", "until=1h"]);
    assert_eq!(kept["containers"].as_array().map(Vec::len), Some(0), "{kept}");
    let pruned = solo.json(&["container", "prune", "--force"]);
    assert_eq!(pruned["containers"].as_array().map(Vec::len), Some(2), "{pruned}");
    assert!(pruned["bytes"].as_u64().is_some_and(|bytes| bytes >= 100_000), "{pruned}");
    let left = solo.json(&["ps", "-a"]);
    assert_eq!((left.as_array().map(Vec::len), &left[0]["name"]), (Some(1), &"runs".into()), "{left}");
    solo.ctl(&["container", "rm", "-f", "runs"]);
}
