//! Values that the specification gives a form, and what a container is given and does not own.

use std::fs;

use serde_json::json;

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("delete leaves alone what the container was given", |lab| {
            fs::create_dir(lab.path("given")).expect("a directory");
            fs::write(lab.path("given/file"), "kept").expect("a file");
            let config = lab.changed("true", |c| {
                let bind =
                    json!({"destination": "/given", "type": "bind", "source": "given", "options": ["bind"]});
                c["mounts"].as_array_mut().expect("mounts").push(bind);
            });
            lab.create(&config);
            lab.must("start");
            lab.wait_for("stopped");
            lab.must("delete");
            assert_eq!(lab.read("given/file"), "kept");
            assert!(lab.rootfs().join("bin/busybox").exists() && lab.path("config.json").exists());
        }),
        case("a capability nobody knows is passed over", |lab| {
            let config = lab.changed("echo ran", |c| {
                let sets = c["process"]["capabilities"].as_object_mut().expect("sets");
                for set in sets.values_mut() {
                    set.as_array_mut().expect("a set").push(json!("CAP_OF_TOMORROW"));
                }
            });
            assert_eq!(lab.run(&config).good(), "ran\n");
        })
        .but(&[("agent-oci", "it refuses the name, which is stricter than the rule")]),
        case("a relative path of a namespace is an error", |lab| {
            std::os::unix::fs::symlink("/proc/self/ns/net", lab.path("net")).expect("a link");
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["namespaces"][4] = json!({"type": "network", "path": "net"});
            }));
        }),
        case("a cgroups path that climbs is an error", |lab| {
            let path = format!("{}/../../../escape", lab.cgroups_path());
            lab.create_refused(&lab.changed("true", |c| c["linux"]["cgroupsPath"] = json!(path)));
        })
        .but(&[("runc", "it takes the path as if it began at the root")]),
        case("a number for an action that takes none is an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS", "errnoRet": 5}]});
            }));
        })
        .but(&[("agent-oci", "it passes over the number"), ("runc", "it passes over the number")]),
        case("a rule without names is an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{"names": [], "action": "SCMP_ACT_ERRNO"}]});
            }));
        })
        .but(&[("agent-oci", "a rule for nothing does nothing"), ("runc", "a rule for nothing does nothing")]),
        case("a masked or read-only path that is relative is an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| c["linux"]["maskedPaths"] = json!(["proc/keys"])));
            lab.create_refused(&lab.changed("true", |c| c["linux"]["readonlyPaths"] = json!(["proc/sys"])));
        })
        .but(&[("runc", "1.1 takes it to be below the root")]),
    ]
}
