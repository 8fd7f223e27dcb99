//! config.md, POSIX-platform hooks; runtime.md, lifecycle.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::lab::Lab;
use super::{Case, case};

/// A hook that runs `script` on the host.
fn hook(lab: &Lab, name: &str, script: &str) -> Value {
    let path = lab.path(name);
    let order = lab.path("order");
    let text =
        format!("#!/bin/sh\nB={}\necho {name} >> {}\n{script}\n", lab.bundle().display(), order.display());
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
    json!({"path": path})
}

fn hooked(lab: &Lab, script: &str, hooks: Value) -> Value {
    lab.changed(script, |c| c["hooks"] = hooks)
}

/// A hook inside the container: a program of its own root filesystem.
fn inner(args: &[&str]) -> Value {
    json!({"path": "/bin/busybox", "args": args})
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = order();
    cases.extend(manner());
    cases.extend(failures());
    cases
}

fn order() -> Vec<Case> {
    vec![
        case("hooks are called at their times and in their order", |lab| {
            let config = hooked(
                lab,
                "true",
                json!({
                    "prestart": [hook(lab, "prestart", "")],
                    "createRuntime": [hook(lab, "createRuntime1", ""), hook(lab, "createRuntime2", "")],
                    "createContainer": [hook(lab, "createContainer", "")],
                    "poststart": [hook(lab, "poststart", "")],
                    "poststop": [hook(lab, "poststop", "")],
                }),
            );
            lab.create(&config);
            assert_eq!(lab.read("order"), "prestart\ncreateRuntime1\ncreateRuntime2\ncreateContainer\n");
            lab.must("start");
            lab.wait_for("stopped");
            assert!(lab.read("order").ends_with("createContainer\npoststart\n"));
            lab.must("delete");
            assert!(lab.read("order").ends_with("poststart\npoststop\n"));
        })
        .but(&[("runc", "1.1 calls poststart hooks in create")]),
        case("startContainer hooks are called by start, in the container, before the program", |lab| {
            let start = inner(&["sh", "-c", "echo hook >> /order"]);
            lab.create(&hooked(lab, "echo program >> /order", json!({"startContainer": [start]})));
            assert_eq!(lab.read("rootfs/order"), "");
            lab.must("start");
            lab.wait_for("stopped");
            assert_eq!(lab.read("rootfs/order"), "hook\nprogram\n");
        }),
        case(
            "createRuntime hooks run in the runtime's namespaces, createContainer hooks in the container's",
            |lab| {
                let runtime = hook(lab, "runtime", "readlink /proc/self/ns/net > $B/net-runtime; exit 0");
                let container =
                    hook(lab, "container", "readlink /proc/self/ns/net > $B/net-container; exit 0");
                lab.create(&hooked(
                    lab,
                    "sleep 100",
                    json!({"createRuntime": [runtime], "createContainer": [container]}),
                ));
                assert_eq!(lab.read("net-runtime").trim(), Lab::namespace(0, "net"));
                assert_eq!(lab.read("net-container").trim(), Lab::namespace(lab.pid(), "net"));
            },
        ),
        case("poststop hooks run when the container is gone", |lab| {
            let poststop = hook(lab, "poststop", "cat > $B/told");
            lab.create(&hooked(lab, "true", json!({"poststop": [poststop]})));
            lab.must("start");
            lab.wait_for("stopped");
            lab.must("delete");
            let told: Value = serde_json::from_str(&lab.read("told")).expect("a state");
            assert_eq!((&told["id"], &told["status"]), (&json!(lab.id), &json!("stopped")));
        }),
    ]
}

fn manner() -> Vec<Case> {
    vec![
        case("a hook is told the state on its standard input", |lab| {
            let hook = hook(lab, "hook", "cat > $B/told");
            let config = lab.changed("sleep 100", |c| {
                c["hooks"] = json!({"createRuntime": [hook]});
                c["annotations"] = json!({"org.example": "note"});
            });
            lab.create(&config);
            let told: Value = serde_json::from_str(&lab.read("told")).expect("a state");
            assert_eq!(told["id"], json!(lab.id));
            assert_eq!(told["pid"], json!(lab.pid()));
            assert_eq!(told["bundle"], json!(lab.bundle()));
            assert_eq!(told["annotations"]["org.example"], "note");
            assert!(["creating", "created"].contains(&told["status"].as_str().unwrap_or_default()), "{told}");
        }),
        case("a poststart hook is told that the container runs", |lab| {
            let hook = hook(lab, "hook", "cat > $B/told");
            lab.create(&hooked(lab, "sleep 100", json!({"poststart": [hook]})));
            lab.must("start");
            let told: Value = serde_json::from_str(&lab.read("told")).expect("a state");
            assert_eq!(told["status"], "running");
        })
        .but(&[("runc", "1.1 calls poststart hooks in create")]),
        case("a hook has the arguments asked for, the first being its own name", |lab| {
            let mut hook = hook(lab, "hook", "");
            hook["path"] = json!("/bin/sh");
            let told = lab.path("told").display().to_string();
            hook["args"] = json!(["sh", "-c", format!("echo \"$0 $1\" > {told}"), "name", "a b"]);
            lab.create(&hooked(lab, "true", json!({"createRuntime": [hook]})));
            assert_eq!(lab.read("told"), "name a b\n");
        }),
        case("a hook has exactly the environment asked for", |lab| {
            let mut hook = hook(lab, "hook", "/usr/bin/env > $B/told");
            hook["env"] = json!(["ONE=1", "TWO=a=b"]);
            lab.create(&hooked(lab, "true", json!({"createRuntime": [hook]})));
            let told = lab.read("told");
            assert!(told.contains("ONE=1\n") && told.contains("TWO=a=b\n"), "{told}");
            assert!(!told.contains("HOME=") && !told.contains("USER="), "{told}");
        }),
        case("a hook's path must be absolute", |lab| {
            lab.create_refused(&hooked(lab, "true", json!({"createRuntime": [{"path": "bin/true"}]})));
        }),
        case("a hook's timeout must be greater than zero", |lab| {
            let mut hook = hook(lab, "hook", "");
            hook["timeout"] = json!(0);
            lab.create_refused(&hooked(lab, "true", json!({"createRuntime": [hook]})));
        }),
        case("a hook that takes longer than its timeout fails", |lab| {
            let mut hook = hook(lab, "hook", "exec sleep 20");
            hook["timeout"] = json!(1);
            let since = std::time::Instant::now();
            lab.create_refused(&hooked(lab, "true", json!({"createRuntime": [hook]})));
            assert!(since.elapsed().as_secs() < 10);
        }),
    ]
}

fn failures() -> Vec<Case> {
    vec![
        case(
            "a prestart or createRuntime hook that fails is an error, and poststop hooks are called",
            |lab| {
                for kind in ["prestart", "createRuntime"] {
                    let _ = fs::remove_file(lab.path("order"));
                    let hooks = json!({kind: [hook(lab, "fails", "exit 1")], "poststop": [hook(lab, "poststop", "")]});
                    lab.create_refused(&hooked(lab, "true", hooks));
                    assert_eq!(lab.read("order"), "fails\npoststop\n", "{kind}");
                }
            },
        ),
        case("a createContainer hook that fails is an error, and poststop hooks are called", |lab| {
            let hooks = json!({"createContainer": [hook(lab, "fails", "exit 1")], "poststop": [hook(lab, "poststop", "")]});
            lab.create_refused(&hooked(lab, "true", hooks));
            assert_eq!(lab.read("order"), "fails\npoststop\n");
        }),
        case("a startContainer hook that fails is an error, and the program never runs", |lab| {
            lab.create(&hooked(lab, "echo ran > /ran", json!({"startContainer": [inner(&["false"])]})));
            lab.call(&["start", &lab.id]).refused();
            assert_eq!(lab.read("rootfs/ran"), "");
        })
        .but(&[("runc", "its start does not wait for them")]),
        case("a poststart hook that fails is an error and stops the container", |lab| {
            lab.create(&hooked(lab, "sleep 100", json!({"poststart": [hook(lab, "fails", "exit 1")]})));
            lab.call(&["start", &lab.id]).refused();
            let state = lab.call(&["state", &lab.id]);
            assert!(state.code != 0 || state.out.contains("stopped"), "{}", state.out);
        })
        .but(&[("runc", "1.1 calls poststart hooks in create")]),
        case("a poststop hook that fails does not keep the container, nor the hooks behind it", |lab| {
            let hooks = json!({"poststop": [hook(lab, "fails", "exit 1"), hook(lab, "next", "")]});
            lab.create(&hooked(lab, "true", hooks));
            lab.must("start");
            lab.wait_for("stopped");
            lab.must("delete");
            assert_eq!(lab.read("order"), "fails\nnext\n");
            lab.call(&["state", &lab.id]).refused();
        })
        .but(&[("runc", "it passes over the hooks behind the one that failed")]),
    ]
}
