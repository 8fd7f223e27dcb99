//! Containers among the processes of another one, or with its System V objects and `/dev/shm`.

use std::time::Duration;

use super::{Bench, on_a_host};

#[test]
fn a_container_joins_the_processes_and_objects_of_another() {
    on_a_host("flags-n", |bench| {
        let web = bench.start(&["--name", "web", "--ipc", "shareable"]);
        processes(bench, &web);
        objects(bench, &web);
        both_and_the_hosts_users(bench, &web);
        what_may_not_be_joined(bench);
        a_start_shows_nothing_to_the_others(bench);
        the_end_of_one_is_the_end_of_both(bench);
    });
}

/// The namespace of a container's first process.
#[track_caller]
fn namespace(bench: &Bench<'_>, id: &str, kind: &str) -> String {
    let path = format!("/proc/{}/ns/{kind}", bench.pid(id));
    std::fs::read_link(&path).unwrap_or_else(|error| panic!("{path}: {error}")).display().to_string()
}

fn processes(bench: &Bench<'_>, web: &str) {
    let out = bench.sh(
        &["--pid", "container:web"],
        "cat /proc/1/comm; kill -0 1 && echo may; [ $$ != 1 ] && echo second",
    );
    assert_eq!(out, "sleep\nmay\nsecond\n", "it sees the other's processes, and has its users");
    let id = bench.start(&["--pid", "container:web", "--name", "beside"]);
    for (kind, shared) in
        [("pid", true), ("user", true), ("ipc", false), ("mnt", false), ("uts", false), ("net", false)]
    {
        assert_eq!(namespace(bench, &id, kind) == namespace(bench, web, kind), shared, "{kind}");
    }
    assert_eq!(bench.proc(&id, "uid_map"), bench.proc(web, "uid_map"));
    for (line, expected) in [("Seccomp", "2"), ("NoNewPrivs", "1"), ("CapBnd", "00000000a80425fb")] {
        assert_eq!(bench.status(&id, line), expected, "{line}");
    }
    assert_eq!(bench.solo.ctl(&["exec", "beside", "cat", "/proc/1/comm"]), "sleep\n");
    assert_eq!(bench.solo.ctl(&["exec", "beside", "hostname"]).trim(), &id[..12]);
    bench.solo.ctl(&["container", "stop", "-t", "0", "beside"]);
    assert_eq!(bench.solo.ctl(&["exec", "web", "echo", "still", "there"]), "still there\n");
    bench.solo.ctl(&["container", "start", "beside"]);
    bench.solo.ctl(&["container", "rm", "-f", "beside"]);
}

fn objects(bench: &Bench<'_>, web: &str) {
    bench.solo.ctl(&["exec", "web", "sh", "-c", "echo word > /dev/shm/note"]);
    let out = bench
        .sh(&["--ipc", "container:web"], "cat /dev/shm/note; echo $$; cat /proc/1/comm; rm /dev/shm/note");
    assert_eq!(out, "word\n1\nsh\n", "its processes are its own");
    assert_eq!(bench.solo.ctl(&["exec", "web", "ls", "/dev/shm"]), "", "one sees what the other does");
    let id = bench.start(&["--ipc", "container:web", "--name", "sharing"]);
    for (kind, shared) in [("ipc", true), ("user", true), ("pid", false), ("mnt", false)] {
        assert_eq!(namespace(bench, &id, kind) == namespace(bench, web, kind), shared, "{kind}");
    }
    let mounts = bench.proc(&id, "mountinfo");
    let line = mounts.lines().find(|line| line.contains(" /dev/shm ")).expect("it is mounted");
    assert!(["nosuid", "nodev", "noexec"].iter().all(|flag| line.contains(flag)), "{line}");
    assert_eq!(bench.solo.ctl(&["exec", "sharing", "cat", "/proc/1/comm"]), "sleep\n");
    bench.solo.ctl(&["container", "rm", "-f", "sharing"]);
    // Without objects of its own there is nothing to set.
    assert!(bench.refused(&["--ipc", "container:web", "--sysctl", "kernel.shmmax=1"]).contains("shares"));
    assert!(bench.refused(&["--ipc", "container:web", "--shm-size", "1m"]).contains("shm-size"));
}

fn both_and_the_hosts_users(bench: &Bench<'_>, web: &str) {
    let both = ["--pid", "container:web", "--ipc", "container:web", "--network", "container:web"];
    let id = bench.start(&[&["--name", "pod"], &both[..]].concat());
    for kind in ["pid", "ipc", "net", "user"] {
        assert_eq!(namespace(bench, &id, kind), namespace(bench, web, kind), "{kind}");
    }
    bench.solo.ctl(&["container", "rm", "-f", "pod"]);
    let none =
        bench.sh(&["--pid", "container:web", "--network", "none"], "cat /proc/1/comm; ls /sys/class/net");
    assert_eq!(none, "sleep\nlo\n", "a new network belongs to the users it joined");
    let host = bench.start(&["--pid", "container:web", "--userns", "host", "--name", "debugger"]);
    assert_eq!(namespace(bench, &host, "pid"), namespace(bench, web, "pid"));
    assert_ne!(namespace(bench, &host, "user"), namespace(bench, web, "user"));
    assert_eq!(bench.solo.ctl(&["exec", "debugger", "cat", "/proc/1/comm"]), "sleep\n");
    bench.solo.ctl(&["container", "rm", "-f", "debugger"]);
}

fn what_may_not_be_joined(bench: &Bench<'_>) {
    bench.start(&["--name", "closed"]);
    bench.start(&["--name", "rootful", "--userns", "host", "--ipc", "host"]);
    bench.solo.ctl(&["container", "create", "--name", "asleep", "--ipc", "shareable", &bench.image]);
    for (options, words) in [
        (&["--ipc", "container:closed"][..], "--ipc shareable"),
        (&["--ipc", "container:rootful"], "host's"),
        (&["--pid", "container:rootful"], "--userns host"),
        (&["--pid", "container:asleep"], "start it first"),
        (&["--ipc", "container:asleep"], "start it first"),
        (&["--pid", "container:nobody"], "nobody"),
        (&["--pid", "container:"], "container:"),
        (&["--uts", "container:web"], "cannot be joined"),
        (&["--pid", "container:closed", "--ipc", "container:web"], "different users"),
    ] {
        let said = bench.refused(options);
        assert!(said.contains(words), "{options:?}: {said}");
    }
    let out = bench.sh(&["--pid", "container:rootful", "--userns", "host"], "cat /proc/1/comm");
    assert_eq!(out, "sleep\n");
}

/// The child that becomes a container is among the other's processes before it has its own root.
fn a_start_shows_nothing_to_the_others(bench: &Bench<'_>) {
    let marker = bench.solo.root().join("marker");
    std::fs::write(&marker, "of the host").expect("a file");
    let look = format!(
        "while :; do for p in /proc/[0-9]*; do [ -e $p/root{0} ] && echo FOUND $p; ls $p/fd/3 >/dev/null 2>&1 && \
         [ $p != /proc/self ] && readlink $p/fd/* 2>/dev/null | grep -q {1} && echo OPEN $p; done; done",
        marker.display(),
        bench.solo.root().display()
    );
    let line =
        ["run", "-d", "-q", "--name", "spy", "--cap-add", "SYS_PTRACE", &bench.image, "sh", "-c", &look];
    bench.solo.ctl(&line);
    for _ in 0..15 {
        bench.sh(&["--pid", "container:spy"], "true");
    }
    assert_eq!(bench.solo.ctl(&["logs", "spy"]), "");
    bench.solo.ctl(&["container", "rm", "-f", "spy"]);
}

fn the_end_of_one_is_the_end_of_both(bench: &Bench<'_>) {
    bench.start(&["--pid", "container:web", "--name", "second"]);
    bench.solo.ctl(&["container", "kill", "web"]);
    itest::wait::until("the kernel has ended both", Duration::from_secs(10), || {
        let all = bench.solo.json(&["ps", "-a", "--filter", "name=second"]);
        if all[0]["exit_code"] == 137 { Ok(()) } else { Err(all.to_string()) }
    });
    let (_, said) = bench.solo.refused(&["container", "start", "second"]);
    assert!(said.contains("start it first"), "{said}");
    bench.solo.ctl(&["container", "start", "web"]);
    bench.solo.ctl(&["container", "start", "second"]);
    assert_eq!(bench.solo.ctl(&["exec", "second", "cat", "/proc/1/comm"]), "sleep\n");
}
