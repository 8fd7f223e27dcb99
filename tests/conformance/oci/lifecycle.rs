//! runtime.md: operations, states, errors.

use std::fs;

use serde_json::json;

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    [first(), second(), third(), fourth()].into_iter().flatten().collect()
}

fn first() -> Vec<Case> {
    vec![
        case("create makes the container and does not run the program", |lab| {
            lab.create(&lab.config("echo ran > /ran"));
            assert_eq!(lab.status(), "created");
            assert!(!lab.rootfs().join("ran").exists());
            lab.must("start");
            lab.wait_for("stopped");
            assert!(lab.rootfs().join("ran").exists());
        }),
        case("create without an id is an error", |lab| {
            lab.write(&lab.config("true"));
            lab.call(&["create"]).refused();
        }),
        case("create without a bundle is an error", |lab| {
            lab.call(&["create", "--bundle", "/no/such/bundle", &lab.id]).refused();
            lab.call(&["state", &lab.id]).refused();
        }),
        case("create with an id that is taken is an error and leaves its owner alone", |lab| {
            lab.create(&lab.config("sleep 100"));
            let before = lab.state();
            lab.call(&["create", &lab.id]).refused();
            assert_eq!(lab.state()["pid"], before["pid"]);
            assert_eq!(lab.status(), "created");
        }),
        case("create with an invalid id is an error and makes nothing", |lab| {
            lab.write(&lab.config("true"));
            for id in ["../escape", "a/b", "a b", ""] {
                lab.call(&["create", id]).refused();
            }
            assert!(!lab.path("escape").exists());
        }),
        case("a change of config.json after create has no effect", |lab| {
            lab.create(&lab.config("echo first > /ran"));
            lab.write(&lab.config("echo second > /ran"));
            lab.must("start");
            lab.wait_for("stopped");
            assert_eq!(lab.read("rootfs/ran"), "first\n");
        }),
        case("a create that fails leaves nothing behind", |lab| {
            let config = lab.changed("true", |c| {
                c["mounts"].as_array_mut().expect("mounts").push(
                    json!({"destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["bind"]}),
                );
            });
            lab.create_refused(&config);
            assert_eq!(lab.cgroups(&lab.cgroups_path()), Vec::<std::path::PathBuf>::new());
            lab.create(&lab.config("true"));
        }),
    ]
}

fn second() -> Vec<Case> {
    vec![
        case("the state has the version, id, status, process, bundle and annotations", |lab| {
            lab.create(&lab.changed("sleep 100", |c| c["annotations"] = json!({"org.example.key": "value"})));
            let state = lab.state();
            assert!(state["ociVersion"].is_string(), "{state}");
            assert_eq!(state["id"], json!(lab.id));
            assert_eq!(state["bundle"], json!(lab.bundle()));
            assert_eq!(state["annotations"]["org.example.key"], "value");
            let pid = state["pid"].as_i64().expect("a number");
            assert!(fs::exists(format!("/proc/{pid}")).expect("a look"));
        }),
        case("state without an id, or of no container, is an error", |lab| {
            lab.call(&["state"]).refused();
            lab.call(&["state", "no-such-container"]).refused();
        }),
        case("start runs the program and the status is running", |lab| {
            lab.create(&lab.config("sleep 100"));
            lab.must("start");
            assert_eq!(lab.status(), "running");
        }),
        case("start without an id, or of no container, is an error", |lab| {
            lab.call(&["start"]).refused();
            lab.call(&["start", "no-such-container"]).refused();
        }),
        case("start of a running container is an error without effect", |lab| {
            lab.create(&lab.config("echo x >> /ran; sleep 100"));
            lab.must("start");
            let pid = lab.pid();
            lab.call(&["start", &lab.id]).refused();
            assert_eq!((lab.status().as_str(), lab.pid()), ("running", pid));
        }),
        case("start of a stopped container is an error", |lab| {
            lab.create(&lab.config("true"));
            lab.must("start");
            lab.wait_for("stopped");
            lab.call(&["start", &lab.id]).refused();
        }),
        case("kill sends the signal to the process", |lab| {
            lab.create(
                &lab.config("trap 'echo usr1 > /got' USR1; echo > /ready; while :; do sleep 0.1; done"),
            );
            lab.must("start");
            lab.appears("rootfs/ready");
            lab.call(&["kill", &lab.id, "USR1"]).good();
            lab.appears("rootfs/got");
            assert_eq!(lab.status(), "running");
            lab.call(&["kill", &lab.id, "9"]).good();
            lab.wait_for("stopped");
        }),
        case("kill of a created container is allowed", |lab| {
            lab.create(&lab.config("true"));
            lab.call(&["kill", &lab.id, "KILL"]).good();
            lab.wait_for("stopped");
        }),
    ]
}

fn third() -> Vec<Case> {
    vec![
        case("kill of a container that neither is created nor runs is an error", |lab| {
            lab.create(&lab.config("true"));
            lab.must("start");
            lab.wait_for("stopped");
            lab.call(&["kill", &lab.id, "KILL"]).refused();
        }),
        case("kill without an id, or of no container, is an error", |lab| {
            lab.call(&["kill"]).refused();
            lab.call(&["kill", "no-such-container", "KILL"]).refused();
        }),
        case("a process that ended leaves its container stopped", |lab| {
            lab.create(&lab.config("exit 3"));
            lab.must("start");
            lab.wait_for("stopped");
        }),
        case("delete removes what create made, and the id may be used again", |lab| {
            lab.create(&lab.config("true"));
            lab.must("start");
            lab.wait_for("stopped");
            lab.must("delete");
            lab.call(&["state", &lab.id]).refused();
            assert_eq!(lab.cgroups(&lab.cgroups_path()), Vec::<std::path::PathBuf>::new());
            lab.create(&lab.config("true"));
        }),
        case("delete of a running container is an error without effect", |lab| {
            lab.create(&lab.config("sleep 100"));
            lab.must("start");
            lab.call(&["delete", &lab.id]).refused();
            assert_eq!(lab.status(), "running");
        }),
        case("delete of a container that has not stopped is an error: a created one has not", |lab| {
            lab.create(&lab.config("sleep 100"));
            lab.call(&["delete", &lab.id]).refused();
            assert_eq!(lab.status(), "created");
        })
        .but(&[("runc", "it kills and removes a created container")]),
        case("delete without an id, or of no container, is an error", |lab| {
            lab.call(&["delete"]).refused();
            lab.call(&["delete", "no-such-container"]).refused();
        }),
        case("a program that is not there is an error of create or start", |lab| {
            lab.write(&lab.changed("", |c| c["process"]["args"] = json!(["/no/such/program"])));
            let created = lab.call(&["create", &lab.id]);
            assert!(created.code != 0 || lab.call(&["start", &lab.id]).code != 0);
        }),
        case("a paused container is paused until it is resumed", |lab| {
            lab.create(&lab.config("sleep 100"));
            lab.must("start");
            lab.must("pause");
            assert_eq!(lab.status(), "paused");
            lab.must("resume");
            assert_eq!(lab.status(), "running");
        }),
    ]
}

fn fourth() -> Vec<Case> {
    vec![case("the list has every container with its status", |lab| {
        lab.create(&lab.config("sleep 100"));
        let list: serde_json::Value =
            serde_json::from_str(&lab.call(&["list", "--format", "json"]).good()).expect("a list");
        assert_eq!((&list[0]["id"], &list[0]["status"]), (&json!(lab.id), &json!("created")));
    })]
}
