//! Containers that take what they can get, beside one that must not notice.

use std::time::{Duration, Instant};

use itest::host::Host;
use itest::image;

use super::Field;
use crate::{SOON, scratch};

/// Runs a small container and answers how long that took.
fn neighbour(field: &Field<'_>, image: &str) -> Duration {
    let since = Instant::now();
    let (good, said) = field.run(&[image, "echo", "alive"]);
    assert!(good && said == "alive\n", "{said}");
    since.elapsed()
}

#[test]
fn bombs_of_processes_memory_output_and_files_stay_inside() {
    let (host, dir) = (Host::new("bombs"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    for (name, flags, script) in [
        ("fork", &["--pids-limit", "64"][..], "f() { f | f & }; while :; do f; sleep 0.1; done"),
        ("memory", &["-m", "32m"], "while :; do busybox tail -c 200000000 /dev/zero; done"),
        ("output", &[], "yes 'a line of output that fills the log'"),
        (
            "files",
            &[],
            "while :; do exec 9</dev/null; for i in 1 2 3; do (sleep 1 </dev/null) & done; wait; done",
        ),
    ] {
        let begin = [
            &["container", "run", "-d", "--name", name, "--cpus", "0.3"],
            flags,
            &[&image, "sh", "-c", script],
        ];
        field.solo.ctl(&begin.concat());
    }
    let worst = (0..5).map(|_| neighbour(&field, &image)).max().expect("five times");
    assert!(worst < SOON, "a neighbour took {worst:?}");
    for name in ["fork", "memory", "output", "files"] {
        field.solo.ctl(&["container", "rm", "--force", name]);
    }
    field.finish();
}

#[test]
fn a_log_is_never_larger_than_its_limit() {
    let (host, dir) = (Host::new("logs"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    let script =
        "yes 'a line of output that fills the log' | dd bs=64k count=1200 iflag=fullblock 2>/dev/null";
    field.solo.ctl(&["container", "run", "-d", "--name", "loud", &image, "sh", "-c", script]);
    itest::wait::until("it ends", Duration::from_secs(60), || {
        let listed = field.solo.json(&["container", "ls", "--all"]);
        if listed[0]["state"] == "exited" { Ok(()) } else { Err(listed.to_string()) }
    });
    let size = itest::programs::succeed(
        std::process::Command::new("du")
            .args(["-sm", "--apparent-size"])
            .arg(dir.path().join("data/agent/containers")),
    );
    let megabytes: u64 = size.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a size");
    assert!((10..=31).contains(&megabytes), "{size}");
    field.solo.ctl(&["container", "rm", "loud"]);
    field.finish();
}

#[test]
fn streams_that_nobody_reads_cost_the_others_nothing() {
    let (host, dir) = (Host::new("streams"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    field.solo.ctl(&[
        "container",
        "run",
        "-d",
        "--name",
        "loud",
        &image,
        "sh",
        "-c",
        "while :; do echo x; sleep 0.01; done",
    ]);
    let keeper = field.solo.keeper_pid();
    let descriptors = || std::fs::read_dir(format!("/proc/{keeper}/fd")).expect("it runs").count();
    let before = descriptors();
    // Readers that never read: their pipes fill, and more of them are asked for than a container has.
    let mut readers: Vec<_> = (0..40)
        .map(|_| {
            let mut command = field.solo.command(&["container", "logs", "-f", "loud"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
            command.spawn().expect("nsenter starts")
        })
        .collect();
    assert!(neighbour(&field, &image) < SOON);
    for reader in &mut readers {
        reader.kill().expect("it was our child");
        reader.wait().expect("it was our child");
    }
    field.solo.ctl(&["container", "rm", "--force", "loud"]);
    itest::wait::until("the keeper has let go", SOON, || {
        let now = descriptors();
        if now <= before { Ok(()) } else { Err(format!("{now} descriptors, before {before}")) }
    });
    field.finish();
}
