//! Further processes: outside of the specification, but what every caller expects of a runtime.

use serde_json::json;

use super::lab::Lab;
use super::{Case, case};

fn running(lab: &Lab) {
    lab.create(&lab.config("sleep 100"));
    lab.must("start");
}

pub(super) fn cases() -> Vec<Case> {
    [first(), second()].into_iter().flatten().collect()
}

fn first() -> Vec<Case> {
    vec![
        case("exec runs a program among the container's processes", |lab| {
            running(lab);
            let out = lab.call(&["exec", &lab.id, "sh", "-c", "hostname; cat /proc/1/cmdline; ls /"]).good();
            assert!(out.starts_with("lab\nsleep") && !out.contains("rootfs") && out.contains("bin"), "{out}");
        }),
        case("exec answers the program's exit code", |lab| {
            running(lab);
            assert_eq!(lab.call(&["exec", &lab.id, "sh", "-c", "exit 9"]).code, 9);
        }),
        case("exec puts its process into the container's cgroup and namespaces", |lab| {
            running(lab);
            let out = lab
                .call(&["exec", &lab.id, "sh", "-c", "cat /proc/self/cgroup; readlink /proc/self/ns/net"])
                .good();
            assert!(out.contains(&lab.cgroups_path()), "{out}");
            assert_eq!(out.lines().last(), Some(Lab::namespace(lab.pid(), "net").as_str()));
        }),
        case("exec takes a process from a file", |lab| {
            running(lab);
            let process = json!({"user": {"uid": 42, "gid": 43}, "cwd": "/tmp", "env": ["PATH=/bin", "X=y"],
                "args": ["sh", "-c", "id -u; id -g; pwd; echo $X"]});
            std::fs::write(lab.path("process.json"), process.to_string()).expect("a file");
            let file = lab.path("process.json").display().to_string();
            assert_eq!(lab.call(&["exec", "--process", &file, &lab.id]).good(), "42\n43\n/tmp\ny\n");
        }),
        case("exec with options changes user, directory and environment", |lab| {
            running(lab);
            let script = "id -u; pwd; echo $X";
            let arguments = [
                "exec",
                "--user",
                "7:8",
                "--cwd",
                "/tmp",
                "--env",
                "X=1",
                lab.id.as_str(),
                "sh",
                "-c",
                script,
            ];
            assert_eq!(lab.call(&arguments).good(), "7\n/tmp\n1\n");
        }),
        case("exec in a container that does not run is an error", |lab| {
            lab.create(&lab.config("true"));
            lab.must("start");
            lab.wait_for("stopped");
            lab.call(&["exec", &lab.id, "true"]).refused();
        }),
        case("exec of a program that is not there is an error", |lab| {
            running(lab);
            let said = lab.call(&["exec", &lab.id, "no-such-program"]).refused();
            assert!(said.contains("no-such-program"), "{said}");
        }),
    ]
}

fn second() -> Vec<Case> {
    vec![
        case("exec detached leaves its process behind and its id in a file", |lab| {
            running(lab);
            let file = lab.path("exec.pid").display().to_string();
            lab.call(&["exec", "--detach", "--pid-file", &file, &lab.id, "sleep", "50"]).good();
            let pid: i64 = lab.read("exec.pid").parse().expect("a number");
            assert_eq!(Lab::namespace(pid, "pid"), Lab::namespace(lab.pid(), "pid"));
        }),
        case("exec enters a user namespace too", |lab| {
            let config = lab.changed("sleep 100", |c| super::namespaces::map_users(lab, c));
            lab.create(&config);
            lab.must("start");
            assert_eq!(
                lab.call(&["exec", &lab.id, "sh", "-c", "id -u; cat /proc/self/uid_map"])
                    .good()
                    .split_whitespace()
                    .collect::<Vec<_>>(),
                ["0", "0", "2000000", "65536"]
            );
        }),
    ]
}
