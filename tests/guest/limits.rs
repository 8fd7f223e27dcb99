//! Limits, as version 2 of cgroups has them.

use itest::solo::Solo;

use crate::on_a_host;

/// A file of the container's cgroup, without the newline at its end.
fn file(solo: &Solo<'_>, name: &str) -> String {
    let cgroup = solo.json(&["container", "inspect", "web"])[0]["cgroup"].clone();
    let path = format!("/sys/fs/cgroup{}/{name}", cgroup.as_str().unwrap_or_default());
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

#[test]
fn every_limit_reaches_its_file_and_can_be_changed() {
    on_a_host("lim", |solo, image| {
        let limits = "--memory 64m --memory-swap 96m --memory-reservation 32m --cpus 0.5 --cpu-shares 2048 \
                      --cpuset-cpus 1 --pids-limit 50 --device-read-bps /dev/vda:1m --device-write-iops /dev/vda:70";
        let command = ["run", "-d", "--name", "web"];
        let limits: Vec<&str> = limits.split_whitespace().collect();
        solo.ctl(&[&command[..], &limits, &[image, "sleep", "1000"]].concat());
        for (name, expected) in [
            ("memory.max", "67108864"),
            ("memory.swap.max", "33554432"),
            ("memory.low", "33554432"),
            ("cpu.max", "50000 100000"),
            ("cpuset.cpus", "1"),
            ("pids.max", "50"),
        ] {
            assert_eq!(file(solo, name), expected, "{name}");
        }
        let weight: u32 = file(solo, "cpu.weight").parse().expect("a number");
        assert!(weight > 39, "twice the ordinary weight of a share is {weight}");
        let io = file(solo, "io.max");
        assert!(io.contains("rbps=1048576") && io.contains("wiops=70"), "{io}");
        solo.ctl(&["container", "update", "--memory", "80m", "--memory-swap", "80m", "--cpus", "1", "web"]);
        let now = ["memory.max", "memory.swap.max", "cpu.max"].map(|name| file(solo, name));
        assert_eq!(now, ["83886080", "0", "100000 100000"]);
    });
}

#[test]
fn a_container_sees_its_own_cgroup_as_the_root_and_cannot_change_it() {
    on_a_host("see", |solo, image| {
        let script = "cat /proc/self/cgroup /sys/fs/cgroup/pids.max; \
                      echo max 2>/dev/null > /sys/fs/cgroup/pids.max || echo refused";
        let told = solo.ctl(&["run", "--rm", "--pids-limit", "77", image, "sh", "-c", script]);
        assert_eq!(told, "0::/\n77\nrefused\n");
    });
}

#[test]
fn a_container_that_takes_too_much_memory_is_killed_and_says_so() {
    on_a_host("oom", |solo, image| {
        let script = "x=x; while :; do x=$x$x; done";
        let command = ["run", "--name", "web", "--memory", "16m", image, "sh", "-c", script];
        let output = solo.try_ctl(&command);
        assert_eq!(output.status.code(), Some(137), "{}", itest::programs::said(&output));
        let told = solo.json(&["container", "inspect", "web"]).to_string();
        assert!(told.contains("\"oom_killed\":true"), "{told}");
    });
}

#[test]
fn a_paused_container_stands_still_until_it_goes_on() {
    on_a_host("pause", |solo, image| {
        solo.ctl(&["run", "-d", "--name", "web", image, "sh", "-c", "while :; do echo x; sleep 0.1; done"]);
        solo.ctl(&["container", "pause", "web"]);
        assert_eq!(file(solo, "cgroup.freeze"), "1");
        let before = solo.ctl(&["logs", "web"]);
        std::thread::sleep(std::time::Duration::from_secs(1));
        assert_eq!(solo.ctl(&["logs", "web"]), before);
        solo.ctl(&["container", "unpause", "web"]);
        itest::wait::until("it goes on", std::time::Duration::from_secs(60), || {
            if solo.ctl(&["logs", "web"]).len() > before.len() { Ok(()) } else { Err(before.clone()) }
        });
    });
}
