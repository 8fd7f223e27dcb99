//! config-linux.md, devices, default devices; runtime-linux.md, links in `/dev`.

use serde_json::json;

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    [first(), second()].into_iter().flatten().collect()
}

fn first() -> Vec<Case> {
    vec![
        case("the default devices are there and work", |lab| {
            let script = "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done; \
                          echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c";
            let out = lab.sh(script);
            for (name, number) in [
                ("null", "1:3"),
                ("zero", "1:5"),
                ("full", "1:7"),
                ("random", "1:8"),
                ("urandom", "1:9"),
                ("tty", "5:0"),
            ] {
                let line = format!("/dev/{name} character special file {number} 666");
                assert!(out.contains(&line), "{line} in {out}");
            }
            assert!(out.ends_with("3\n3\n"), "{out}");
        }),
        case("the links of the standard streams are there", |lab| {
            let out = lab.sh("for l in fd stdin stdout stderr; do readlink /dev/$l; done");
            assert_eq!(out, "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n");
        }),
        case("/dev/ptmx is the container's own", |lab| {
            let out = lab.sh("readlink /dev/ptmx || grep ' /dev/ptmx ' /proc/self/mountinfo");
            assert!(out.contains("pts/ptmx") || out.contains("/ptmx"), "{out}");
        }),
        case("a device is made as configured", |lab| {
            let config = lab.changed("stat -c '%F %t:%T %a %u:%g' /dev/mine", |c| {
                c["linux"]["devices"] = json!([
                    {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4},
                ]);
            });
            assert_eq!(lab.run(&config).good(), "character special file 1:5 640 3:4\n");
        }),
        case("a fifo is made as configured", |lab| {
            let config = lab.changed("stat -c '%F %a' /dev/pipe", |c| {
                c["linux"]["devices"] = json!([{"path": "/dev/pipe", "type": "p", "fileMode": 0o600}]);
            });
            assert_eq!(lab.run(&config).good(), "fifo 600\n");
        }),
        case("a device may be anywhere", |lab| {
            let config = lab.changed("stat -c '%F' /srv/z", |c| {
                c["linux"]["devices"] = json!([{"path": "/srv/z", "type": "c", "major": 1, "minor": 5}]);
            });
            assert_eq!(lab.run(&config).good(), "character special file\n");
        }),
        case("a file that is there and is not the device asked for is an error", |lab| {
            std::fs::write(lab.rootfs().join("taken"), "x").expect("a file");
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["devices"] = json!([{"path": "/taken", "type": "c", "major": 1, "minor": 5}]);
            }));
        })
        .but(&[("runc", "it leaves the file")]),
    ]
}

fn second() -> Vec<Case> {
    vec![
        case("a device of no known type is an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["devices"] = json!([{"path": "/dev/x", "type": "x", "major": 1, "minor": 5}]);
            }));
        }),
        case("with a user namespace the default devices are there too", |lab| {
            let config = lab.changed(
                "stat -c '%t:%T' /dev/null; echo x > /dev/null; head -c 2 /dev/zero | wc -c",
                |c| {
                    super::namespaces::map_users(lab, c);
                },
            );
            assert_eq!(lab.run(&config).good(), "1:3\n2\n");
        }),
    ]
}
