//! Changing what a running container may use: what the kernel then says, and
//! that a change that is refused changes nothing.

use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, wait};

use crate::{SOON, scratch};

/// What the kernel says of a container's cgroup, on either version.
fn limit(solo: &Solo<'_>, controller: &str, v1: &str, v2: &str) -> String {
    let cgroup = solo.json(&["container", "inspect", "web"])[0]["cgroup"].clone();
    let cgroup = cgroup.as_str().unwrap_or_default();
    let places =
        [format!("/sys/fs/cgroup/{controller}{cgroup}/{v1}"), format!("/sys/fs/cgroup{cgroup}/{v2}")];
    let found = places.iter().find_map(|path| std::fs::read_to_string(path).ok());
    found.unwrap_or_else(|| panic!("none of {places:?}")).trim().to_owned()
}

fn memory(solo: &Solo<'_>) -> u64 {
    limit(solo, "memory", "memory.limit_in_bytes", "memory.max").parse().expect("a limit")
}

fn pids(solo: &Solo<'_>) -> String {
    limit(solo, "pids", "pids.max", "pids.max")
}

#[test]
fn limits_change_at_once_wholly_or_not_at_all_and_stay_changed() {
    let (host, dir) = (Host::new("updt"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let mut solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    let script = "x=$(seq 1 4000000); echo ready; while :; do sleep 1000; done";
    solo.ctl(&[
        "run",
        "-d",
        "--name",
        "web",
        "-m",
        "128m",
        "--pids-limit",
        "100",
        &image,
        "sh",
        "-c",
        script,
    ]);
    wait::until("it has taken memory", SOON, || {
        let log = solo.ctl(&["logs", "web"]);
        if log.contains("ready") { Ok(()) } else { Err(log) }
    });
    assert_eq!((memory(&solo), pids(&solo).as_str()), (128 << 20, "100"));
    let more =
        ["container", "update", "-m", "256m", "--memory-swap", "300m", "--cpus", "0.5", "--pids-limit", "-1"];
    assert_eq!(solo.ctl(&[&more[..], &["web"]].concat()), "web\n");
    assert_eq!((memory(&solo), pids(&solo).as_str()), (256 << 20, "max"));
    assert!(limit(&solo, "cpu", "cpu.cfs_quota_us", "cpu.max").starts_with("50000"));
    solo.ctl(&["container", "update", "--blkio-weight", "300", "web"]);
    assert!(limit(&solo, "blkio", "blkio.bfq.weight", "io.bfq.weight").ends_with("300"));
    solo.ctl(&["container", "update", "--blkio-weight", "0", "web"]);
    assert!(limit(&solo, "blkio", "blkio.bfq.weight", "io.bfq.weight").ends_with("100"));

    // It uses some 30 MB, so this is refused, and with it what was to be changed beside.
    let (code, said) = solo.refused(&["container", "update", "-m", "8m", "--pids-limit", "77", "web"]);
    assert!(code == 6 && said.contains("memory"), "{code}: {said}");
    for wrong in [
        &["-m", "1m"][..],
        &["-m", "400m"],
        &["--cpu-shares", "1"],
        &["--cpuset-cpus", "4000"],
        &["--pids-limit", "-5"],
        &["--restart", "sometimes"],
        &["--cpus", "1", "--cpu-quota", "5000"],
    ] {
        let (code, said) =
            solo.refused(&[&["container", "update", "--pids-limit", "55"][..], wrong, &["web"]].concat());
        assert!([2, 6].contains(&code), "{wrong:?}: {code}: {said}");
    }
    assert_eq!(solo.refused(&["container", "update", "web"]).0, 2);
    assert_eq!((memory(&solo), pids(&solo).as_str()), (256 << 20, "max"));

    solo.ctl(&["container", "update", "-m", "64m", "--memory-swap", "64m", "--restart", "always", "web"]);
    solo.kill_agent();
    solo.start_again();
    let found = solo.json(&["container", "inspect", "web"])[0].clone();
    assert_eq!((&found["limits"]["memory_bytes"], memory(&solo)), (&(64 << 20).into(), 64 << 20));
    // What was changed while it ran holds for its next run.
    solo.ctl(&["container", "restart", "-t", "0", "web"]);
    assert_eq!((memory(&solo), pids(&solo).as_str()), (64 << 20, "max"));
    solo.ctl(&["container", "rm", "-f", "web"]);
}
