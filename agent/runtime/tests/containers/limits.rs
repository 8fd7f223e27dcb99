//! Limits that hold.

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, PosixRlimitBuilder,
    PosixRlimitType,
};

use crate::lab::{Lab, Ran};

fn limited(lab: &Lab, script: &str, limit: impl FnOnce(&mut LinuxResources)) -> Ran {
    let mut spec = lab.spec(&["sh", "-c", script]);
    if let Some(resources) = spec.oci.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
        limit(resources);
    }
    lab.start(&spec).wait()
}

#[test]
fn a_fork_bomb_meets_its_limit() {
    let lab = Lab::new();
    let script = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; echo all";
    let ran = limited(&lab, script, |resources| {
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(10).build().expect("pids")));
    });
    assert!(ran.err.contains("can't fork") && !ran.out.contains("all"), "{ran:?}");
}

#[test]
fn a_memory_hog_is_killed_and_it_shows() {
    let lab = Lab::new();
    let script = "busybox tail -c 200000000 /dev/zero";
    let ran = limited(&lab, script, |resources| {
        let memory = LinuxMemoryBuilder::default().limit(32 << 20).swap(32 << 20).build().expect("memory");
        resources.set_memory(Some(memory));
    });
    assert_eq!((ran.code, ran.oom_killed), (137, true), "{ran:?}");
}

#[test]
fn an_ordinary_end_is_not_called_out_of_memory() {
    let lab = Lab::new();
    let ran = limited(&lab, "exit 3", |resources| {
        resources.set_memory(Some(LinuxMemoryBuilder::default().limit(64 << 20).build().expect("memory")));
    });
    assert_eq!((ran.code, ran.oom_killed), (3, false), "{ran:?}");
}

#[test]
fn what_a_container_uses_is_counted() {
    let lab = Lab::new();
    let mut spec = lab.spec(&["sh", "-c", "sleep 60 & sleep 60 & wait"]);
    if let Some(resources) = spec.oci.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
        resources.set_memory(Some(LinuxMemoryBuilder::default().limit(64 << 20).build().expect("memory")));
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(10).build().expect("pids")));
    }
    let running = lab.start(&spec);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let usage = loop {
        let usage = lab.cgroup().usage().expect("its usage");
        if usage.pids == 3 || std::time::Instant::now() > until {
            break usage;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert_eq!((usage.pids, usage.pids_limit), (3, Some(10)));
    assert_eq!(usage.memory_limit_bytes, Some(64 << 20));
    assert!((1..64 << 20).contains(&usage.memory_bytes) && usage.cpu_ns > 0, "{usage:?}");
    drop(running);
    assert!(lab.cgroup().usage().is_err(), "a cgroup that is gone uses nothing, which is no zero");
}

#[test]
fn half_a_processor_is_half_a_processor() {
    let lab = Lab::new();
    let mut spec = lab.spec(&["sh", "-c", "while :; do :; done"]);
    if let Some(resources) = spec.oci.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
        resources.set_cpu(Some(
            LinuxCpuBuilder::default().quota(20_000).period(100_000_u64).build().expect("cpu"),
        ));
    }
    let running = lab.start(&spec);
    let ticks = || -> u64 {
        let stat = running.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        fields[11].parse::<u64>().expect("user") + fields[12].parse::<u64>().expect("system")
    };
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_secs(2));
    // A fifth of two seconds is 40 ticks of 10 ms; a whole processor would be 200.
    let used = ticks() - before;
    assert!((1..=70).contains(&used), "{used} ticks");
}

#[test]
fn killing_the_cgroup_ends_every_process() {
    let lab = Lab::new();
    let running = lab.start(&lab.spec(&["sh", "-c", "sleep 100 & sleep 100 & wait"]));
    for _ in 0..200 {
        if lab.cgroup().processes().len() == 3 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(lab.cgroup().processes().len(), 3);
    lab.cgroup().kill_all().expect("killed");
    let ran = running.wait();
    assert_eq!(ran.code, 137);
    assert!(!lab.cgroup().exists());
}

#[test]
fn a_limit_of_open_files_is_the_programs_and_not_its_makings() {
    let lab = Lab::new();
    let mut spec = lab.spec(&["sh", "-c", "ulimit -n"]);
    let few =
        PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(6_u64).hard(9_u64).build();
    if let Some(process) = spec.oci.process_mut() {
        process.set_rlimits(Some(vec![few.expect("a limit")]));
    }
    let ran = lab.start(&spec).wait();
    assert_eq!((ran.code, ran.out.as_str()), (0, "6\n"), "{ran:?}");
}
