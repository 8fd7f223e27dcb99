//! Health checks of containers: what is thought of them, and what follows.

use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, wait};

use crate::{SOON, scratch};

fn status(solo: &Solo<'_>) -> String {
    solo.json(&["container", "ls", "--all"])[0]["health"].as_str().unwrap_or_default().to_owned()
}

fn until_status(solo: &Solo<'_>, wanted: &str) {
    wait::until(wanted, SOON, || {
        let found = solo.json(&["container", "ls", "--all"]);
        if found[0]["health"] == wanted { Ok(()) } else { Err(found.to_string()) }
    });
}

#[test]
fn a_container_is_found_healthy_and_unhealthy_across_a_killed_agent() {
    let (host, dir) = (Host::new("health"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let mut solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    let check = "echo looked; test -e /tmp/good";
    let run = ["container", "run", "-d", "--name", "h", "--health-cmd", check, "--health-interval", "200ms"];
    solo.ctl(&[&run[..], &["--health-retries", "2", &image, "sleep", "1000"]].concat());
    until_status(&solo, "unhealthy");
    solo.ctl(&["container", "exec", "h", "sh", "-c", "echo > /tmp/good"]);
    until_status(&solo, "healthy");
    let shown = solo.json(&["container", "inspect", "h"]);
    let log = shown[0]["state"]["health_checks"]["log"].as_array().expect("results");
    assert!((1..=5).contains(&log.len()), "{shown}");
    assert_eq!(log.last().expect("a result")["output"], "looked\n");
    assert!(solo.ctl(&["container", "ls"]).contains("(healthy)"));

    solo.kill_agent();
    solo.start_again();
    assert_eq!(status(&solo), "healthy", "it is known again before the next check");
    solo.ctl(&["container", "exec", "h", "/bin/busybox", "rm", "/tmp/good"]);
    until_status(&solo, "unhealthy");
    solo.ctl(&["container", "rm", "--force", "h"]);
}

#[test]
fn a_check_that_hangs_is_a_failure_and_leaves_no_process() {
    let (host, dir) = (Host::new("hangs"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    let run = [
        "container",
        "run",
        "-d",
        "--name",
        "h",
        "--health-cmd",
        "exec sleep 77",
        "--health-interval",
        "100ms",
    ];
    solo.ctl(
        &[&run[..], &["--health-timeout", "300ms", "--health-retries", "1", &image, "sleep", "1000"]]
            .concat(),
    );
    until_status(&solo, "unhealthy");
    let shown = solo.json(&["container", "inspect", "h"]);
    let last = &shown[0]["state"]["health_checks"]["log"][0];
    assert!(last["exit_code"] == -1 && last["output"].to_string().contains("did not end"), "{shown}");
    let count = || {
        solo.ctl(&[
            "container",
            "exec",
            "h",
            "sh",
            "-c",
            "/bin/busybox grep -l '7[7]' /proc/[0-9]*/cmdline | wc -l",
        ])
    };
    // Many have been given up by now; one may run, and one be about to die.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(["0", "1", "2"].contains(&count().trim()), "checks that were given up are killed");
    solo.ctl(&["container", "rm", "--force", "h"]);
}

#[test]
fn an_unhealthy_container_is_brought_back_by_its_policy() {
    let (host, dir) = (Host::new("unwell"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    let run = ["container", "run", "-d", "--name", "h", "--restart", "on-failure", "--restart-unhealthy"];
    let check = ["--health-cmd", "false", "--health-interval", "200ms", "--health-retries", "1"];
    solo.ctl(&[&run[..], &check, &["--stop-timeout", "1", &image, "sleep", "1000"]].concat());
    wait::until("it is restarted", SOON, || {
        let found = solo.json(&["container", "ls", "--all"]);
        let count = found[0]["restart_count"].as_u64().unwrap_or_default();
        if count > 0 { Ok(()) } else { Err(found.to_string()) }
    });
    solo.ctl(&["container", "rm", "--force", "h"]);
    let (_, said) = solo.refused(&["container", "create", "--restart-unhealthy", &image]);
    assert!(said.contains("without a check"), "{said}");
}
