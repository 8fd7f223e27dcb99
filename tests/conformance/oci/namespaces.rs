//! config-linux.md, namespaces, id mappings, sysctl, time offsets.

use std::os::unix::fs::chown;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::lab::Lab;
use super::{Case, case};

const KINDS: [(&str, &str); 5] =
    [("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt"), ("network", "net")];

/// First host id of a container with a user namespace.
const BASE: u32 = 2_000_000;

/// Adds a user namespace of 65,536 ids, and gives the root filesystem to it.
pub(super) fn map_users(lab: &Lab, config: &mut Value) {
    let map = json!([{"containerID": 0, "hostID": BASE, "size": 65536}]);
    config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "user"}));
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    for folder in [lab.rootfs(), lab.rootfs().join("tmp"), lab.rootfs().join("dev")] {
        chown(folder, Some(BASE), Some(BASE)).expect("an owner");
    }
    use std::os::unix::fs::PermissionsExt;
    // The way to the root filesystem, for runtimes that walk it as the container's user.
    std::fs::set_permissions(lab.bundle(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
}

/// A process that holds namespaces of its own.
struct Holder(Child);

impl Holder {
    fn new(flags: &[&str]) -> Holder {
        let mut command = Command::new("unshare");
        let child =
            command.args(flags).args(["sleep", "100"]).stdin(Stdio::null()).spawn().expect("unshare starts");
        let path = format!("/proc/{}/comm", child.id());
        itest::wait::until("the holder has its namespaces", std::time::Duration::from_secs(5), || {
            match std::fs::read_to_string(&path) {
                Ok(name) if name == "sleep\n" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        Holder(child)
    }

    fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.0.id())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = kinds();
    cases.extend(users());
    cases.extend(sysctls());
    cases
}

fn kinds() -> Vec<Case> {
    [kinds_first(), kinds_second(), kinds_third()].into_iter().flatten().collect()
}

fn kinds_first() -> Vec<Case> {
    vec![
        case("a namespace without a path is new", |lab| {
            lab.create(&lab.config("sleep 100"));
            for (kind, name) in KINDS {
                assert_ne!(Lab::namespace(lab.pid(), name), Lab::namespace(0, name), "{kind}");
            }
        }),
        case("a namespace that is not listed is the runtime's", |lab| {
            let config = lab.changed("sleep 100", |c| {
                c["linux"]["namespaces"] = json!([{"type": "mount"}]);
                c["hostname"] = Value::Null;
            });
            lab.create(&config);
            for (kind, name) in KINDS.iter().filter(|(kind, _)| *kind != "mount") {
                assert_eq!(Lab::namespace(lab.pid(), name), Lab::namespace(0, name), "{kind}");
            }
        }),
        case("a namespace with a path is joined", |lab| {
            let holder = Holder::new(&["--net", "--ipc", "--uts"]);
            let config = lab.changed("sleep 100", |c| {
                c["linux"]["namespaces"] = json!([
                    {"type": "mount"}, {"type": "pid"},
                    {"type": "network", "path": holder.path("net")},
                    {"type": "ipc", "path": holder.path("ipc")},
                    {"type": "uts", "path": holder.path("uts")},
                ]);
            });
            lab.create(&config);
            for kind in ["net", "ipc", "uts"] {
                let theirs =
                    std::fs::read_link(holder.path(kind)).expect("a namespace").display().to_string();
                assert_eq!(Lab::namespace(lab.pid(), kind), theirs, "{kind}");
            }
        }),
        case("a namespace of process ids with a path is joined", |lab| {
            let other = Lab::new(&lab.program);
            other.create(&other.config("sleep 100"));
            other.must("start");
            let config = lab.changed("ps; sleep 100", |c| {
                c["linux"]["namespaces"] = json!([
                    {"type": "mount"}, {"type": "uts"}, {"type": "network"}, {"type": "ipc"},
                    {"type": "pid", "path": format!("/proc/{}/ns/pid", other.pid())},
                ]);
            });
            lab.create(&config);
            assert_eq!(Lab::namespace(lab.pid(), "pid"), Lab::namespace(other.pid(), "pid"));
        }),
    ]
}

fn kinds_second() -> Vec<Case> {
    vec![
        case("a user namespace with a path is joined", |lab| {
            let other = Lab::new(&lab.program);
            other.create(&other.changed("sleep 100", |c| map_users(&other, c)));
            other.must("start");
            let path = format!("/proc/{}/ns/user", other.pid());
            let config = lab.changed("sleep 100", |c| {
                map_users(lab, c);
                let namespaces = c["linux"]["namespaces"].as_array_mut().expect("namespaces");
                namespaces.pop();
                namespaces.push(json!({"type": "user", "path": path}));
            });
            lab.create(&config);
            assert_eq!(Lab::namespace(lab.pid(), "user"), Lab::namespace(other.pid(), "user"));
        }),
        case("a path that is not a namespace is an error", |lab| {
            for path in ["/no/such/namespace", "/dev/null"] {
                lab.create_refused(&lab.changed("true", |c| {
                    c["linux"]["namespaces"] =
                        json!([{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": path}]);
                }));
            }
        }),
        case("a path of another kind of namespace is an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["namespaces"] =
                    json!([{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": "/proc/self/ns/ipc"}]);
            }));
        }),
        case("a namespace listed twice is an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "pid"}));
            }));
        }),
        case("a namespace of no known kind is an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["namespaces"]
                    .as_array_mut()
                    .expect("namespaces")
                    .push(json!({"type": "nonsense"}));
            }));
        }),
        case("a new cgroup namespace begins at the container's cgroup", |lab| {
            let config = lab.changed("cat /proc/self/cgroup", |c| {
                c["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "cgroup"}));
            });
            let out = lab.run(&config).good();
            assert!(out.lines().all(|line| line.ends_with(":/")), "{out}");
        }),
    ]
}

fn kinds_third() -> Vec<Case> {
    vec![
        case("a new time namespace has its clocks shifted", |lab| {
            let config = lab.changed("cat /proc/self/timens_offsets", |c| {
                c["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "time"}));
                c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1000, "nanosecs": 5}});
            });
            let out = lab.run(&config).good();
            let line = out.lines().find(|line| line.starts_with("boottime")).unwrap_or_default();
            assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["boottime", "1000", "5"]);
        })
        .but(&[("runc", "newer than 1.1")]),
    ]
}

fn users() -> Vec<Case> {
    vec![
        case("a user namespace has the maps asked for", |lab| {
            let config =
                lab.changed("id -u; cat /proc/self/uid_map /proc/self/gid_map", |c| map_users(lab, c));
            let out = lab.run(&config).good();
            let words: Vec<&str> = out.split_whitespace().collect();
            assert_eq!(words, ["0", "0", "2000000", "65536", "0", "2000000", "65536"]);
        }),
        case("what a container with a user namespace makes belongs to its ids on the host", |lab| {
            use std::os::unix::fs::MetadataExt;
            lab.run(&lab.changed("touch /made", |c| map_users(lab, c))).good();
            assert_eq!(std::fs::metadata(lab.rootfs().join("made")).expect("a file").uid(), BASE);
        }),
        case("id mappings without a user namespace are an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
                c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
            }));
        })
        .but(&[("runc", "it passes over them")]),
    ]
}

fn sysctls() -> Vec<Case> {
    vec![
        case("a sysctl of one of the container's namespaces is set", |lab| {
            let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni";
            let config = lab.changed(script, |c| {
                c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "1234"});
            });
            assert_eq!(lab.run(&config).good(), "1\n1234\n");
        }),
        case("a sysctl of the whole host is an error", |lab| {
            let before = std::fs::read_to_string("/proc/sys/vm/overcommit_ratio").expect("a number");
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["sysctl"] = json!({"vm.overcommit_ratio": "51"});
            }));
            assert_eq!(std::fs::read_to_string("/proc/sys/vm/overcommit_ratio").expect("a number"), before);
        }),
        case("a sysctl of a namespace that is the host's is an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}, {"type": "pid"}]);
                c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
            }));
        }),
    ]
}
