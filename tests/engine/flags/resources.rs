//! Limits, read back from the kernel.

use std::path::Path;

use super::{Bench, cgroup_of, on_a_host};

#[test]
fn limits_are_the_kernels() {
    on_a_host("flags-r", |bench| {
        memory_and_processes(bench);
        processors(bench);
        real_time(bench);
        disks(bench);
        a_place_below_another_cgroup(bench);
        refusals(bench);
    });
}

fn memory_and_processes(bench: &Bench<'_>) {
    let id = bench.start(&[
        "--memory",
        "64m",
        "--memory-swap",
        "-1",
        "--memory-reservation",
        "32m",
        "--pids-limit",
        "-1",
        "--oom-score-adj",
        "300",
        "--ulimit",
        "nofile=77:88",
        "--ulimit",
        "core=0",
        "--shm-size",
        "1m",
    ]);
    assert_eq!(bench.cgroup(&id, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    let swap = bench.cgroup(&id, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    assert!(swap == "max" || swap.parse::<u64>().is_ok_and(|bytes| bytes > 1 << 60), "{swap}");
    assert_eq!(bench.cgroup(&id, "memory", "memory.soft_limit_in_bytes", "memory.low"), "33554432");
    assert_eq!(bench.cgroup(&id, "pids", "pids.max", "pids.max"), "max");
    assert_eq!(bench.proc(&id, "oom_score_adj").trim(), "300");
    let limits = bench.proc(&id, "limits");
    let line = |name: &str| limits.lines().find(|line| line.starts_with(name)).expect("a limit").to_owned();
    let words = |line: &str| {
        line.split_whitespace().filter(|w| w.parse::<u64>().is_ok()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words(&line("Max open files")), ["77", "88"]);
    assert_eq!(words(&line("Max core file size")), ["0", "0"]);
    let mounts = bench.proc(&id, "mountinfo");
    let shm = mounts.lines().find(|line| line.contains(" /dev/shm ")).expect("a /dev/shm");
    assert!(shm.contains("size=1024k"), "{shm}");

    let plain = bench.start(&["--memory", "64m", "--memory-swap", "96m"]);
    let swap = bench.cgroup(&plain, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    assert!(swap == "100663296" || swap == "33554432", "{swap}");
    assert_eq!(bench.cgroup(&plain, "pids", "pids.max", "pids.max"), "1024");

    let (_, is_v1) = cgroup_of(&bench.proc(&plain, "cgroup"), "memory");
    if is_v1 {
        let id = bench.start(&["--memory", "64m", "--memory-swappiness", "17", "--oom-kill-disable"]);
        assert_eq!(bench.cgroup(&id, "memory", "memory.swappiness", ""), "17");
        assert!(bench.cgroup(&id, "memory", "memory.oom_control", "").contains("oom_kill_disable 1"));
    } else {
        assert!(bench.refused(&["--memory-swappiness", "17"]).contains("version 2"));
    }
}

fn processors(bench: &Bench<'_>) {
    let id =
        bench.start(&["--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0", "--cpuset-mems", "0"]);
    let quota = bench.cgroup(&id, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "50000" || quota == "50000 100000", "{quota}");
    let shares = bench.cgroup(&id, "cpu", "cpu.shares", "cpu.weight");
    assert!(shares == "512" || shares == "20", "{shares}");
    assert_eq!(bench.cgroup(&id, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(bench.status(&id, "Cpus_allowed_list"), "0");
    assert_eq!(bench.status(&id, "Mems_allowed_list"), "0");
    let id = bench.start(&["--cpu-period", "50000", "--cpu-quota", "20000"]);
    let quota = bench.cgroup(&id, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "20000" || quota == "20000 50000", "{quota}");
    if quota == "20000" {
        assert_eq!(bench.cgroup(&id, "cpu", "cpu.cfs_period_us", ""), "50000");
    }
}

/// The disk that /tmp lies on, where it is one: the only kind of device that limits can be set for everywhere.
fn disk() -> Option<String> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let device = std::fs::metadata("/tmp").ok()?.dev();
    let nodes = std::fs::read_dir("/dev").ok()?;
    let is_it = |path: &std::path::PathBuf| {
        std::fs::metadata(path).is_ok_and(|node| node.file_type().is_block_device() && node.rdev() == device)
    };
    nodes
        .filter_map(|node| node.ok().map(|node| node.path()))
        .find(is_it)
        .map(|path| path.display().to_string())
}

fn disks(bench: &Bench<'_>) {
    let disk = disk().expect("this test needs /tmp on a disk whose node is in /dev");
    let id = bench.start(&[
        "--device-read-bps",
        &format!("{disk}:1mb"),
        "--device-write-bps",
        &format!("{disk}:2mb"),
        "--device-read-iops",
        &format!("{disk}:300"),
        "--device-write-iops",
        &format!("{disk}:400"),
    ]);
    for (file, value) in [
        ("blkio.throttle.read_bps_device", "1048576"),
        ("blkio.throttle.write_bps_device", "2097152"),
        ("blkio.throttle.read_iops_device", "300"),
        ("blkio.throttle.write_iops_device", "400"),
    ] {
        let text = bench.cgroup(&id, "blkio", file, "io.max");
        assert!(text.contains(value), "{file}: {text}");
    }
    assert!(bench.refused(&["--device-read-bps", "/dev/null:1mb"]).contains("not a block device"));
}

fn a_place_below_another_cgroup(bench: &Bench<'_>) {
    let parent = format!("/flags-{}", std::process::id());
    let id = bench.start(&["--cgroup-parent", &parent, "--memory", "64m"]);
    let cgroup = bench.proc(&id, "cgroup");
    assert!(cgroup.lines().all(|line| line.contains(&format!(":{parent}/roadstead-"))), "{cgroup}");
    assert_eq!(bench.cgroup(&id, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    let (directory, _) = cgroup_of(&cgroup, "memory");
    bench.solo.ctl(&["container", "rm", "--force", &id]);
    assert!(!directory.exists(), "{} is left", directory.display());
    for line in cgroup.lines() {
        let controller = line.split(':').nth(1).unwrap_or_default().split(',').next().unwrap_or_default();
        let (directory, _) = cgroup_of(&cgroup, controller);
        // What was named stays, for its owner to remove: here that is this test.
        std::fs::remove_dir(directory.parent().unwrap_or(Path::new("/"))).expect("the parent is empty");
    }
}

/// Where cgroups share out time for real-time priorities, a container has what was asked for and no other has any.
fn real_time(bench: &Bench<'_>) {
    let is_shared_out = Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists();
    let budget = ["--cpu-rt-runtime", "20000", "--cpu-rt-period", "500000"];
    if !is_shared_out {
        assert!(bench.refused(&budget).contains("real-time budgets"));
        return;
    }
    let options = [&budget[..], &["--ulimit", "rtprio=99"]].concat();
    let id = bench.start(&options);
    let value = |file: &str| bench.cgroup(&id, "cpu", file, file);
    assert_eq!(
        (value("cpu.rt_runtime_us").as_str(), value("cpu.rt_period_us").as_str()),
        ("20000", "500000")
    );
    let raised = |id: &str| {
        let pid = bench.pid(id).to_string();
        let chrt = std::process::Command::new("chrt").args(["-f", "-p", "5", &pid]).output();
        chrt.expect("chrt is installed (util-linux)").status.success()
    };
    assert!(raised(&id), "it has a budget");
    bench.solo.ctl(&["container", "update", "--cpu-rt-runtime", "40000", &id]);
    assert_eq!(value("cpu.rt_runtime_us"), "40000");
    let (_, said) = bench.solo.refused(&[
        "container",
        "update",
        "--cpu-rt-runtime",
        "500000",
        "--cpu-rt-period",
        "500000",
        &id,
    ]);
    assert!(said.contains("rt_runtime"), "{said}");
    assert_eq!(value("cpu.rt_runtime_us"), "40000", "a refusal changes nothing");
    let other = bench.start(&["--ulimit", "rtprio=99"]);
    assert!(!raised(&other), "it has none");
    bench.solo.ctl(&["container", "rm", "--force", &id, &other]);
}

fn refusals(bench: &Bench<'_>) {
    for (options, word) in [
        (&["--memory-swap", "1g"][..], "needs a memory limit"),
        (&["--memory", "64m", "--memory-swap", "32m"], "memory-swap"),
        (&["--cpus", "1", "--cpu-quota", "5000"], "cpus"),
        (&["--cpuset-cpus", "4095"], "this host has no number 4095"),
        (&["--cpu-rt-runtime", "10"], "cpu-rt-runtime"),
        (&["--storage-opt", "size=1g"], "project quotas"),
        (&["--blkio-weight", "5"], "10 to 1000"),
        (&["--ulimit", "nofile=5:4"], "exceeds"),
        (&["--ulimit", "nope=5"], "is no limit"),
        (&["--oom-kill-disable"], "memory limit"),
        (&["--cgroup-parent", "../x"], "cgroup-parent"),
    ] {
        let said = bench.refused(options);
        assert!(said.contains(word), "{options:?}: {said}");
    }
    let left = bench.solo.json(&["container", "ls", "--all"]);
    let created = left.as_array().map(|all| all.iter().filter(|one| one["state"] == "created").count());
    assert_eq!(created, Some(0), "a refusal left something: {left}");
}
