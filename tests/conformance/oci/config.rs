//! config.md: what holds for the file as a whole.

use serde_json::json;

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    [first(), second()].into_iter().flatten().collect()
}

fn first() -> Vec<Case> {
    vec![
        case("a bundle without config.json is an error", |lab| {
            lab.call(&["create", &lab.id]).refused();
        }),
        case("a config.json that is not JSON is an error", |lab| {
            std::fs::write(lab.path("config.json"), "{").expect("a file");
            lab.call(&["create", &lab.id]).refused();
        }),
        case("ociVersion must be a version", |lab| {
            lab.create_refused(&lab.changed("true", |c| c["ociVersion"] = json!("one")));
        })
        .but(&[("runc", "it does not look at ociVersion")]),
        case("properties nobody knows are ignored", |lab| {
            lab.run(&lab.changed("true", |c| {
                c["org.example.unknown"] = json!({"a": 1});
                c["linux"]["unknownToo"] = json!(true);
            }))
            .good();
        }),
        case("root.path may be absolute", |lab| {
            let rootfs = lab.rootfs();
            lab.run(&lab.changed("true", |c| c["root"]["path"] = json!(rootfs))).good();
        }),
        case("root.path must be a directory", |lab| {
            lab.create_refused(&lab.changed("true", |c| c["root"]["path"] = json!("config.json")));
            lab.create_refused(&lab.changed("true", |c| c["root"]["path"] = json!("nowhere")));
        }),
        case("root.readonly makes the root filesystem read-only inside", |lab| {
            let script = "if echo x > /written; then echo rw; else echo ro; fi 2> /dev/null";
            assert_eq!(lab.run(&lab.changed(script, |c| c["root"]["readonly"] = json!(true))).good(), "ro\n");
            assert_eq!(lab.sh(script), "rw\n");
        }),
        case("hostname is the container's", |lab| {
            assert_eq!(lab.sh("hostname"), "lab\n");
        }),
        case("hostname needs a uts namespace", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "mount"}, {"type": "network"}]);
            }));
        }),
        case("domainname is the container's", |lab| {
            let config =
                lab.changed("cat /proc/sys/kernel/domainname", |c| c["domainname"] = json!("example.org"));
            assert_eq!(lab.run(&config).good(), "example.org\n");
        })
        .but(&[("runc", "1.1 does not know domainname")]),
        case("linux.personality sets the execution domain", |lab| {
            let config =
                lab.changed("uname -m", |c| c["linux"]["personality"] = json!({"domain": "LINUX32"}));
            assert_eq!(lab.run(&config).good(), "i686\n");
        })
        .but(&[("runc", "1.1 does not know personality")]),
        case("annotations may be anything and change nothing", |lab| {
            lab.run(&lab.changed("true", |c| c["annotations"] = json!({"com.example.x": "", "y": "z"})))
                .good();
        }),
    ]
}

fn second() -> Vec<Case> {
    vec![
        case("a kernel without Intel RDT, or a runtime, refuses it", |lab| {
            lab.create_refused(&lab.changed("true", |c| c["linux"]["intelRdt"] = json!({"closID": "x"})));
        })
        .but(&[("runc", "1.1 passes over it")]),
        case("an apparmor profile that cannot be loaded is an error", |lab| {
            lab.create_refused(
                &lab.changed("true", |c| c["process"]["apparmorProfile"] = json!("none-such")),
            );
        }),
    ]
}
