//! What a default container is, seen from outside and from inside.

use std::collections::BTreeMap;
use std::fs;

use agent_runtime::defaults;

use crate::lab::{BASE, Lab};

fn status(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

#[test]
fn the_kernel_shows_the_confinement_that_was_asked_for() {
    let lab = Lab::new();
    let running = lab.start(&lab.spec(&["sleep", "60"]));
    let status = status(&running.proc("status"));
    // The fourteen of Docker, by their bits.
    let fourteen = "00000000a80425fb";
    for (key, value) in [
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("CapBnd", fourteen),
        ("CapPrm", fourteen),
        ("CapEff", fourteen),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "1"),
        ("SigIgn", "0000000000000000"),
        ("SigBlk", "0000000000000000"),
        ("Umask", "0022"),
    ] {
        assert_eq!(status[key], value, "{key}");
    }
    assert_eq!(status["Uid"], format!("{BASE}\t{BASE}\t{BASE}\t{BASE}"));
    assert_eq!(status["Groups"], BASE.to_string());
    let map: Vec<String> = running.proc("uid_map").split_whitespace().map(str::to_owned).collect();
    assert_eq!(map, ["0".to_owned(), BASE.to_string(), "65536".to_owned()]);
    assert_eq!(running.proc("gid_map"), running.proc("uid_map"));
    let limits = running.proc("limits");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    // The hard limit is Docker's, or this process's own where it may not raise it.
    assert_eq!(files.split_whitespace().next(), Some("1024"), "{limits}");
}

#[test]
fn every_namespace_is_its_own() {
    let lab = Lab::new();
    let running = lab.start(&lab.spec(&["sleep", "60"]));
    for kind in ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"] {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace").display().to_string();
        assert_ne!(running.link(&format!("ns/{kind}")), own, "{kind}");
    }
}

#[test]
fn every_hierarchy_holds_the_process_in_its_cgroup() {
    let lab = Lab::new();
    let running = lab.start(&lab.spec(&["sleep", "60"]));
    for line in running.proc("cgroup").lines() {
        assert!(line.ends_with(&format!(":{}", lab.cgroup_path())), "{line}");
    }
    assert_eq!(lab.cgroup().processes(), [running.pid]);
}

#[test]
fn no_mount_of_the_host_is_left() {
    let lab = Lab::new();
    let running = lab.start(&lab.spec(&["sleep", "60"]));
    let mounts = running.proc("mountinfo");
    let points: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    let allowed = ["/", "/proc", "/dev", "/sys"];
    for point in points {
        assert!(
            allowed.iter().any(|root| point == *root || point.starts_with(&format!("{root}/"))),
            "{point}"
        );
    }
    assert!(!mounts.contains("shared:") && !mounts.contains("master:"), "{mounts}");
    assert_eq!(mounts.lines().filter(|line| line.contains(" - overlay ")).count(), 1);
}

#[test]
fn only_three_descriptors_are_open() {
    let lab = Lab::new();
    // What a careless keeper would leave open: not even close-on-exec.
    let directory = fs::File::open("/").expect("the root");
    let leaked: Vec<_> = (0..50).map(|_| rustix::io::dup(&directory).expect("a descriptor")).collect();
    let running = lab.start(&lab.spec(&["sleep", "60"]));
    assert_eq!(crate::lab::names(format!("/proc/{}/fd", running.pid).as_ref()), ["0", "1", "2"]);
    drop(leaked);
}

#[test]
fn dev_holds_what_docker_has() {
    let lab = Lab::new();
    let ran = lab.sh("ls /dev; echo hi >/dev/null; busybox head -c 4 /dev/zero | busybox wc -c; cat /dev/full | busybox head -c 1 | busybox wc -c");
    assert_eq!(ran.code, 0, "{ran:?}");
    let names: Vec<&str> = ran.out.split_whitespace().collect();
    assert_eq!(
        names,
        [
            "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
            "stdout", "tty", "urandom", "zero", "4", "1"
        ]
    );
}

#[test]
fn masked_paths_are_empty_and_kernel_settings_read_only() {
    let lab = Lab::new();
    let ran = lab.sh("for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do \
           [ -e $f ] && { cat $f | busybox wc -c; stat -c %t:%T $f; }; done; \
         ls -A /sys/firmware /proc/scsi 2>/dev/null | busybox grep -v : ; \
         for f in /proc/sysrq-trigger /proc/sys/kernel/domainname /proc/irq/default_smp_affinity; do \
           (echo 1 > $f) 2>/dev/null && echo wrote $f; done; \
         busybox mkdir /sys/fs/cgroup/memory/x 2>/dev/null && echo made a cgroup; \
         busybox touch /sys/x 2>/dev/null && echo wrote sysfs; true");
    let expected: Vec<&str> = ran.out.split_whitespace().collect();
    assert!(!expected.is_empty() && expected.chunks(2).all(|pair| pair == ["0", "1:3"]), "{ran:?}");
}

#[test]
fn the_cgroup_tree_starts_at_the_container() {
    let lab = Lab::new();
    let ran =
        lab.sh("cat /proc/self/cgroup; ls /sys/fs/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs 2>/dev/null");
    assert!(
        ran.out
            .lines()
            .filter(|line| line.contains("::") || line.matches(':').count() == 2)
            .all(|line| line.ends_with(":/")),
        "{ran:?}"
    );
    assert!(!ran.out.contains("roadstead"), "{ran:?}");
    if lab.staging_is_v1() {
        assert!(ran.out.contains("memory") && ran.out.contains("pids"), "{ran:?}");
    }
}

#[test]
fn names_processes_and_ids_are_its_own() {
    let lab = Lab::new();
    let ran = lab.sh("echo $$; busybox hostname; id -u; id -g; stat -c %u:%g /bin/busybox; ls -d /proc/[0-9]* | busybox wc -l; busybox pwd");
    let lines: Vec<&str> = ran.out.lines().collect();
    // The shell, ls and wc.
    assert_eq!(lines, ["1", "lab", "0", "0", "0:0", "3", "/"], "{ran:?}");
}

#[test]
fn a_file_made_inside_belongs_to_the_range_outside() {
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    let ran = lab.sh("echo x > /etc/made; busybox chown 1000:1000 /etc/made; busybox touch /bin/busybox");
    assert_eq!(ran.code, 0, "{ran:?}");
    let made = fs::metadata(lab.dir.path().join("upper/etc/made")).expect("the file in the upper layer");
    assert_eq!((made.uid(), made.gid()), (BASE + 1000, BASE + 1000));
    let copied = fs::metadata(lab.dir.path().join("upper/bin/busybox")).expect("copied up");
    assert_eq!(copied.uid(), BASE);
}

#[test]
fn the_filter_denies_what_docker_denies() {
    let lab = Lab::new();
    let ran = lab.sh("busybox unshare -m true; echo $?; busybox mount -t tmpfs x /tmp; echo $?; busybox swapoff /x; echo $?");
    let codes: Vec<&str> = ran.out.lines().collect();
    assert!(codes.len() == 3 && codes.iter().all(|code| *code != "0"), "{ran:?}");
    assert!(ran.err.contains("Operation not permitted"), "{ran:?}");
}

#[test]
fn a_container_without_user_namespace_is_confined_as_well() {
    let lab = Lab::new();
    let running = lab.start(&lab.spec_for(None, &["sleep", "60"]));
    let status = status(&running.proc("status"));
    assert_eq!((status["CapBnd"].as_str(), status["NoNewPrivs"].as_str()), ("00000000a80425fb", "1"));
    assert_eq!(status["Seccomp"], "2");
    let own = fs::read_link("/proc/self/ns/user").expect("a namespace").display().to_string();
    assert_eq!(running.link("ns/user"), own);
    drop(running);
    let ran = lab
        .start(&lab.spec_for(
            None,
            &["sh", "-c", "busybox mknod /tmp/mem c 1 1 && cat /tmp/mem | busybox head -c 1"],
        ))
        .wait();
    assert!(ran.err.contains("Operation not permitted"), "the device cgroup stops it: {ran:?}");
}

#[test]
fn another_user_has_no_capabilities_and_its_groups_only() {
    let lab = Lab::new();
    let mut spec = lab.spec(&[
        "sh",
        "-c",
        "id -u; id -G; busybox grep Cap /proc/self/status; echo to-stdout > /dev/stdout",
    ]);
    if let Some(process) = spec.oci.process_mut() {
        process.user_mut().set_uid(33).set_gid(34).set_additional_gids(Some(vec![35]));
    }
    let ran = lab.start(&spec).wait();
    let words: Vec<&str> = ran.out.split_whitespace().collect();
    assert_eq!(words[..3], ["33", "34", "35"], "{ran:?}");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        let at = words.iter().position(|word| *word == set).expect("a set");
        assert_eq!(words[at + 1], "0000000000000000", "{set}");
    }
    assert!(ran.out.ends_with("to-stdout\n"), "{ran:?}");
}

#[test]
fn a_read_only_root_takes_no_writes_but_tmp_mounts_do() {
    let lab = Lab::new();
    let mut spec = lab.spec(&["sh", "-c", "echo x > /etc/x; echo y > /dev/shm/y && cat /dev/shm/y"]);
    let mut root = oci_spec::runtime::Root::default();
    root.set_readonly(Some(true));
    spec.oci.set_root(Some(root));
    let ran = lab.start(&spec).wait();
    assert!(ran.err.contains("Read-only file system") && ran.out == "y\n", "{ran:?}");
}

#[test]
fn the_default_set_is_the_fourteen() {
    assert_eq!(defaults::CAPABILITIES.len(), 14);
}
