//! The process that unpacks layers, looked at from outside while it works.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use itest::host::Host;
use itest::image::Tree;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{SOON, scratch};

/// Enough that unpacking takes a while.
const ZEROS: usize = 192 << 20;

/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP.
const CAPABILITIES: &str = "000000008800001b";

fn proc(pid: i32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

fn field(pid: i32, name: &str) -> String {
    let status = proc(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// A child of the agent that was started to unpack and has its filter, held still.
fn caught(agent: u32) -> i32 {
    let begun = Instant::now();
    while begun.elapsed() < SOON {
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let is_it = proc(pid, "cmdline").split('\0').nth(1) == Some("unpack")
                && field(pid, "PPid") == agent.to_string()
                && field(pid, "Seccomp") == "2";
            if is_it && kill(Pid::from_raw(pid), Signal::SIGSTOP).is_ok() {
                return pid;
            }
        }
    }
    panic!("no process of agent {agent} unpacks");
}

#[test]
fn layers_are_unpacked_by_a_process_that_sees_the_layer_and_nothing_else() {
    let (dir, host) = (scratch(), Host::new("unpack"));
    let registry = Registry::start(&host, dir.path());
    let mut tree = Tree::default();
    tree.file("zeros", 0o644, &vec![0; ZEROS]);
    registry.push("large", "1", &tree.image(&["/zeros"]));
    let solo = Solo::start(&host, dir.path());
    let mut pull =
        solo.command(&["image", "pull", &format!("{ADDRESS}/large:1")]).spawn().expect("ctl starts");
    let pid = caught(solo.agent_pid());

    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(field(pid, set), CAPABILITIES, "{set}");
    }
    assert_eq!((field(pid, "CapInh"), field(pid, "CapAmb")), ("0".repeat(16), "0".repeat(16)));
    assert_eq!((field(pid, "NoNewPrivs"), field(pid, "Groups")), ("1".to_owned(), String::new()));
    let mounts = proc(pid, "mountinfo");
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.contains("/snapshots/incoming/") && mounts.contains("nosuid,nodev,noexec"), "{mounts}");
    for namespace in ["net", "mnt", "ipc", "uts", "cgroup"] {
        let of = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).expect("it is there");
        assert_ne!(of(pid), of(solo.agent_pid().cast_signed()), "{namespace}");
    }
    let limits = proc(pid, "limits");
    let limited =
        |name: &str| limits.lines().any(|line| line.starts_with(name) && !line.contains("unlimited"));
    assert!(
        limited("Max data size") && limited("Max open files") && limited("Max core file size"),
        "{limits}"
    );
    let descriptors: BTreeSet<PathBuf> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("root may look")
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .collect();
    let foreign = |path: &&PathBuf| {
        let text = path.to_string_lossy();
        // What it sees beneath its root is written as if from there.
        !(text.starts_with("pipe:")
            || text.contains("/snapshots/incoming/")
            || text == "/"
            || text == "/zeros")
    };
    assert_eq!(descriptors.iter().filter(foreign).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    assert_eq!(proc(pid, "environ"), "");

    kill(Pid::from_raw(pid), Signal::SIGCONT).expect("it is there");
    assert!(pull.wait().expect("ctl ends").success());
    assert!(!fs::exists(format!("/proc/{pid}")).expect("/proc"), "it has ended and was reaped");
}

#[test]
fn a_pull_whose_unpacking_is_killed_fails_leaves_nothing_and_can_be_repeated() {
    let (dir, host) = (scratch(), Host::new("unpackkill"));
    let registry = Registry::start(&host, dir.path());
    let mut tree = Tree::default();
    tree.file("zeros", 0o644, &vec![0; ZEROS]);
    registry.push("large", "1", &tree.image(&["/zeros"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/large:1");
    let pull = solo.command(&["image", "pull", &image]).stderr(std::process::Stdio::piped()).spawn();
    let pid = caught(solo.agent_pid());
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
    let failed = pull.expect("ctl starts").wait_with_output().expect("ctl ends");
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && said.contains("the process that does it failed"), "{said}");
    std::thread::sleep(Duration::from_millis(100));
    for folder in ["incoming", "layers"] {
        let left = fs::read_dir(solo.root().join("data/agent/snapshots").join(folder)).expect("it is there");
        let names: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
        // The demo's own layer is there from the start.
        assert!(names.len() <= usize::from(folder == "layers"), "{folder}: {names:?}");
    }
    solo.ctl(&["image", "pull", &image]);
}
