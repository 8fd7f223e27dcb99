//! config-linux.md, control groups.

use serde_json::{Value, json};

use super::lab::Lab;
use super::{Case, case};

/// The container created with `resources` beside its device rules.
fn with(lab: &Lab, resources: &Value) {
    let config = lab.changed("sleep 100", |c| {
        for (key, value) in resources.as_object().expect("an object") {
            c["linux"]["resources"][key] = value.clone();
        }
    });
    lab.create(&config);
}

pub(super) fn cases() -> Vec<Case> {
    [first(), second()].into_iter().flatten().collect()
}

fn first() -> Vec<Case> {
    vec![
        case("the process is in the cgroup of an absolute path, in every hierarchy", |lab| {
            with(lab, &json!({}));
            let text = std::fs::read_to_string(format!("/proc/{}/cgroup", lab.pid())).expect("cgroups");
            for name in ["pids", "memory", "devices", "freezer"] {
                let line =
                    text.lines().find(|line| line.contains(&format!(":{name}:")) || line.starts_with("0::"));
                assert!(line.is_some_and(|line| line.ends_with(&lab.cgroups_path())), "{name}: {text}");
            }
        }),
        case("without a path the container has a cgroup of its own all the same", |lab| {
            let config = lab.changed("sleep 100", |c| {
                c["linux"].as_object_mut().expect("an object").remove("cgroupsPath");
            });
            lab.create(&config);
            let cgroup =
                |pid: String| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
            assert!(cgroup(lab.pid().to_string()).contains(&lab.id));
        }),
        case("the memory limit is set", |lab| {
            with(lab, &json!({"memory": {"limit": 67_108_864}}));
            assert_eq!(lab.cgroup_file(&["memory.limit_in_bytes", "memory.max"]), "67108864");
        }),
        case("the memory reservation is set", |lab| {
            with(lab, &json!({"memory": {"reservation": 33_554_432}}));
            assert_eq!(lab.cgroup_file(&["memory.soft_limit_in_bytes", "memory.low"]), "33554432");
        }),
        case("the cpu shares are set", |lab| {
            with(lab, &json!({"cpu": {"shares": 512}}));
            let value = lab.cgroup_file(&["cpu.shares", "cpu.weight"]);
            assert!(["512", "20"].contains(&value.as_str()), "{value}");
        }),
        case("the cpu quota and period are set", |lab| {
            with(lab, &json!({"cpu": {"quota": 20_000, "period": 50_000}}));
            let quota = lab.cgroup_file(&["cpu.cfs_quota_us", "cpu.max"]);
            assert!(["20000", "20000 50000"].contains(&quota.as_str()), "{quota}");
        }),
        case("the cpuset is set", |lab| {
            with(lab, &json!({"cpu": {"cpus": "0", "mems": "0"}}));
            assert_eq!(lab.cgroup_file(&["cpuset.cpus"]), "0");
        }),
        case("the pids limit is set", |lab| {
            with(lab, &json!({"pids": {"limit": 77}}));
            assert_eq!(lab.cgroup_file(&["pids.max"]), "77");
        }),
    ]
}

fn second() -> Vec<Case> {
    vec![
        case("a limit for a device of blockIO is set", |lab| {
            let disk = std::fs::read_to_string("/proc/partitions").expect("partitions");
            let fields: Vec<&str> = disk.lines().nth(2).expect("a disk").split_whitespace().collect();
            let (major, minor): (u64, u64) =
                (fields[0].parse().expect("a number"), fields[1].parse().expect("a number"));
            with(
                lab,
                &json!({"blockIO": {"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1_048_576}]}}),
            );
            let value = lab.cgroup_file(&["blkio.throttle.read_bps_device", "io.max"]);
            assert!(value.contains("1048576"), "{value}");
        }),
        case("a device that is denied does not open, one that is allowed does", |lab| {
            let script = "mknod /m c 1 2; mknod /z c 1 5; if head -c 1 /m > /dev/null; then echo m; fi 2> /dev/null; \
                          if head -c 1 /z > /dev/null; then echo z; fi";
            assert_eq!(lab.sh(script), "z\n");
        }),
        case("a device rule allows what it names and no more", |lab| {
            let config =
                lab.changed("mknod /k c 1 11; (: < /k) && echo read; (: > /k) && echo written", |c| {
                    c["linux"]["resources"]["devices"] = json!([
                        {"allow": false, "access": "rwm"},
                        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"},
                    ]);
                });
            let ran = lab.run(&config);
            assert_eq!(ran.out, "written\n", "{}", ran.err);
        }),
        case("a value the kernel refuses is an error and leaves nothing", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["resources"]["cpu"] = json!({"cpus": "4000-5000"});
            }));
            assert!(lab.cgroups(&lab.cgroups_path()).is_empty());
        }),
        case("unified resources on a host with version 1 are an error", |lab| {
            lab.create_refused(&lab.changed("true", |c| {
                c["linux"]["resources"]["unified"] = json!({"memory.high": "1000000"});
            }));
        }),
        case("update changes the limits of a running container", |lab| {
            with(lab, &json!({"pids": {"limit": 77}, "memory": {"limit": 67_108_864}}));
            lab.must("start");
            lab.call(&["update", "--pids-limit", "88", "--memory", "134217728", &lab.id]).good();
            assert_eq!(lab.cgroup_file(&["pids.max"]), "88");
            assert_eq!(lab.cgroup_file(&["memory.limit_in_bytes", "memory.max"]), "134217728");
        }),
        case("ps lists the processes of the container", |lab| {
            with(lab, &json!({}));
            lab.must("start");
            let pids: Vec<i64> =
                serde_json::from_str(&lab.call(&["ps", "--format", "json", &lab.id]).good()).expect("a list");
            assert_eq!(pids, [lab.pid()]);
        }),
    ]
}
