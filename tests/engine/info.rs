//! `ctl info`, and what the agent says of its host when it starts.

use itest::host::Host;
use itest::image;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;

use crate::scratch;

#[test]
fn a_host_is_shown_with_what_it_lacks() {
    let (host, dir) = (Host::new("info"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    solo.ctl(&["run", "-d", "-q", &image, "sleep", "1000"]);
    solo.ctl(&["container", "create", &image]);

    let info = solo.json(&["info"]);
    assert_eq!(info["containers"], serde_json::json!({ "running": 1, "created": 1 }));
    assert_eq!(
        (&info["images"], &info["attested_starts"]),
        (&2.into(), &1.into()),
        "with the embedded image: {info}"
    );
    assert_eq!(info["failed_attestations"], 0);
    assert_eq!(info["cluster"], serde_json::Value::Null);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    assert_eq!(info["host"]["kernel"], kernel.trim());
    assert!(
        info["host"]["memory_bytes"].as_u64() > Some(1 << 20)
            && info["storage"]["bytes"].as_u64() > Some(1 << 20)
    );

    let features = info["features"].as_array().expect("a list").clone();
    let missing: Vec<_> = features.iter().filter(|feature| feature["state"] == "missing").collect();
    let log = std::fs::read_to_string(dir.path().join("data/agent.log")).expect("the agent's log");
    let table = solo.ctl(&["info"]);
    for lack in &missing {
        let (name, detail) =
            (lack["name"].as_str().expect("a name"), lack["detail"].as_str().expect("words"));
        assert_eq!(
            log.matches(&format!("this host has no {name}:")).count(),
            1,
            "said once at the start: {log}"
        );
        assert!(table.contains(name) && table.contains(detail), "{table}");
        assert!(!detail.is_empty(), "what is done instead of {name}?");
    }
    // Neither is on this machine, or if it is, it is not used; never is it silently left out.
    for name in ["AppArmor", "SELinux"] {
        assert!(
            features.iter().any(|feature| feature["name"] == name && feature["state"] != "used"),
            "{features:?}"
        );
    }
}

/// The kernel itself says what is refused: this test fails where the two disagree.
#[test]
fn what_the_host_lacks_is_refused_by_name() {
    let (host, dir) = (Host::new("info-r"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    let info = solo.json(&["info"]);
    let is_missing = |name: &str| {
        let features = info["features"].as_array().expect("a list");
        features.iter().any(|feature| feature["name"] == name && feature["state"] == "missing")
    };
    for (feature, options) in [
        ("cgroup controller cpu", &["--cpus", "0.5"][..]),
        ("cgroup controller cpuset", &["--cpuset-cpus", "0"]),
        ("swap accounting", &["-m", "64m", "--memory-swap", "128m"]),
        ("weights of disk accesses", &["--blkio-weight", "100"]),
        ("project quotas", &["--storage-opt", "size=64m"]),
        ("user namespaces", &[]),
        ("system call filters", &[]),
    ] {
        let output = solo.try_ctl(&[&["run", "--rm", "-q"], options, &[&image, "true"]].concat());
        let said = itest::programs::said(&output);
        assert_eq!(output.status.success(), !is_missing(feature), "{feature}: {said}");
        assert!(output.status.success() || said.contains(feature), "{feature}: {said}");
    }
    for lacking in ["apparmor=docker-default", "label=type:x"] {
        let (code, said) = solo.refused(&["run", "--rm", "--security-opt", lacking, &image, "true"]);
        assert!(code != 0 && said.contains("not applied"), "{said}");
    }
}
