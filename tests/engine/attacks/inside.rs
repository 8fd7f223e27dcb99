//! What a program tries that finds itself in a container.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use itest::host::Host;
use itest::{image, wait};

use super::Field;
use crate::{Over, SOON, scratch};

#[test]
fn no_working_directory_is_a_descriptor_of_the_engine() {
    let (host, dir) = (Host::new("cwd"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    for number in (0..20).chain([63, 255, 1023]) {
        let cwd = format!("/proc/self/fd/{number}");
        let (_, said) = field.run(&["-w", &cwd, &image, "sh", "-c", "ls -a ../../../..; cat data/agent.log"]);
        assert!(!said.contains("agent.sock") && !said.contains("canary"), "{cwd}: {said}");
    }
    for cwd in ["/proc/1/cwd", "/proc/self/root", "/proc/thread-self/fd/4", "/../../../..", "relative", ""] {
        let (_, said) = field.run(&["-w", cwd, &image, "ls", "/"]);
        assert!(!said.contains("panicked") && !said.contains("lost+found"), "{cwd}: {said}");
    }
    field.finish();
}

/// What it tries, and with which words of a shell; "won" says that it could. Names in braces are filled in.
const TRIES: &[(&str, &str)] = &[
    ("see a process of the host", "[ $(ls -d /proc/[0-9]* | wc -l) -gt 5 ] && echo won"),
    ("see the victim", "[ -e /proc/{victim} ] && echo won"),
    ("kill everything", "kill -9 -1; true"),
    ("kill the keeper", "kill -9 {keeper} && echo won"),
    ("stop the keeper", "kill -STOP {keeper} && echo won"),
    ("kill the agent", "kill -9 {agent} && echo won"),
    ("find an abstract socket of the host", "grep -q {name} /proc/net/unix && echo won"),
    ("find the agent's socket", "grep -q agent.sock /proc/net/unix && echo won"),
    ("find the layers of other images", "grep -o 'lowerdir=[^,]*' /proc/mounts | grep -q /tmp && echo won"),
    ("reach the root of the first process", "ls /proc/1/root/lost+found && echo won"),
    ("climb above the root", "cd /; cd ../../../..; [ -e lost+found ] && echo won"),
    ("read the environment of the engine", "tr '\\0' '\\n' </proc/1/environ | grep -q ROADSTEAD && echo won"),
    ("write the kernel's settings", "(exec 3>>/proc/sys/kernel/core_pattern) && echo won"),
    ("write the settings of the network card", "(exec 3>>/sys/class/net/lo/mtu) && echo won"),
    ("make a cgroup", "mkdir /sys/fs/cgroup/*/x && echo won"),
    (
        "leave its limits",
        "for f in $(find /sys/fs/cgroup -name '*.max' -o -name '*limit*' -o -name '*.allow'); do \
         (exec 3>>$f) && echo won; done",
    ),
    ("be told when a cgroup is empty", "find /sys/fs/cgroup -name release_agent | grep -q . && echo won"),
    (
        "notify on release",
        "for f in $(find /sys/fs/cgroup -name notify_on_release); do (exec 3>>$f) && echo won; done",
    ),
    (
        "move itself in any hierarchy",
        "for f in $(find /sys/fs/cgroup -name cgroup.procs -o -name tasks); do (echo $$ >$f) && echo won; \
         (echo $$ >${f%/*}/../cgroup.procs) && echo won; done",
    ),
    (
        "mount any hierarchy from its root",
        "for c in $(cut -d: -f2 /proc/self/cgroup); do mount -t cgroup -o $c x /mnt && echo won; done; \
         mount -t cgroup2 x /mnt && echo won",
    ),
    ("mount a file system", "mount -t tmpfs x /mnt && echo won; mount -t proc x /tmp && echo won"),
    ("make the root writable again", "mount -o remount,rw /proc/sys && echo won"),
    ("make a device", "busybox mknod /sda b 8 0 && dd if=/sda of=/dev/null count=1 && echo won"),
    ("change the host's name", "hostname evil && echo won"),
    ("enter the namespaces of the host", "busybox nsenter -t 1 -m ls /lost+found && echo won"),
    (
        "make namespaces of its own",
        "busybox unshare -m true && echo won; busybox unshare -U true && echo won",
    ),
    ("load a module", "busybox insmod /bin/busybox && echo won; busybox modprobe loop && echo won"),
    ("reboot", "busybox reboot -f && echo won; busybox halt -f && echo won"),
    ("set the clock", "busybox date -s 2001-01-01; [ $(busybox date +%Y) = 2001 ] && echo won"),
    ("add an address to the network", "busybox ip addr add 192.0.2.9/24 dev lo && echo won"),
    ("become a router", "(echo 1 >/proc/sys/net/ipv4/ip_forward) && echo won"),
    ("raise its priority", "busybox nice -n -5 busybox nice | grep -q -- -5 && echo won"),
    ("raise the limit of open files", "ulimit -n 10000000 && echo won"),
    (
        "escape by a second chroot",
        "mkdir -p /jail; busybox chroot /jail /bin/true; ls /../../lost+found && echo won",
    ),
    ("escape the oom killer", "(echo -1000 >/proc/self/oom_score_adj) && echo won"),
];

#[test]
fn the_host_and_other_containers_are_out_of_reach() {
    let (host, dir) = (Host::new("reach"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    field.solo.ctl(&["container", "run", "-d", "--name", "victim", &image, "sleep", "1000"]);
    let name = format!("attack-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let _socket = UnixListener::bind_addr(&address).expect("a new name");
    let (keeper, agent) = (field.solo.keeper_pid(), field.solo.agent_pid());
    let victim = field.solo.json(&["container", "ls"])[0]["pid"].to_string();
    let mut can = Vec::new();
    for (what, script) in TRIES {
        let numbers =
            [("{keeper}", keeper.to_string()), ("{agent}", agent.to_string()), ("{victim}", victim.clone())];
        let script = numbers
            .iter()
            .fold(script.replace("{name}", &name), |text, (key, value)| text.replace(key, value));
        let (_, said) = field.run(&[&image, "sh", "-c", &format!("({script}) 2>/dev/null")]);
        if said.contains("won") {
            can.push(format!("beaten: {what}\n    {said}"));
        }
    }
    assert!(can.is_empty(), "it can\n{}", can.join("\n"));
    assert_eq!((field.solo.keeper_pid(), field.solo.agent_pid()), (keeper, agent));
    assert_eq!(field.solo.json(&["container", "ls"])[0]["pid"].to_string(), victim);
    field.solo.ctl(&["container", "rm", "--force", "victim"]);
    field.finish();
}

/// With the right to mount a container sees hierarchies from its own cgroup on: what is run at a cgroup's end is set at
/// the root, in each of them, and no container gets there. Even one that shares the host's view may not write it.
#[test]
fn no_hierarchy_lets_a_container_say_what_runs_at_a_cgroups_end() {
    let (host, dir) = (Host::new("release"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    let evil = dir.path().join("ran");
    let script = format!(
        "mkdir -p /h; for c in $(cut -d: -f2 /proc/self/cgroup); do busybox umount /h 2>/dev/null; \
         mount -t cgroup -o $c x /h 2>/dev/null || continue; echo mounted; \
         for f in $(find /h -name release_agent); do (echo /bin/busybox touch {0} >$f) 2>/dev/null && echo won $c; done; \
         mkdir /h/gone 2>/dev/null && echo 1 >/h/gone/notify_on_release && (sh -c 'echo $$ >/h/gone/cgroup.procs'); done; \
         for f in $(find /sys/fs/cgroup -name release_agent); do (exec 3>>$f) 2>/dev/null && echo won $f; done; true",
        evil.display()
    );
    let loose = ["--cap-add", "ALL", "--security-opt", "seccomp=unconfined"];
    let hosts = ["--cgroupns", "host"];
    for flags in [&[][..], &["--cap-add", "ALL"], &loose, &hosts, &[&loose[..], &hosts].concat()] {
        let (good, said) = field.run(&[flags, &[&image, "sh", "-c", &script]].concat());
        assert!(good && !said.contains("won"), "{flags:?}: {said}");
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!evil.exists(), "the host ran it");
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        // Those of version 2 have none.
        let set = std::fs::read_to_string(hierarchy.path().join("release_agent")).unwrap_or_default();
        assert!(!set.contains(&evil.display().to_string()), "{}: {set}", hierarchy.path().display());
    }
    field.finish();
}

/// Somebody on the host raises the limit of each new container at once: sooner or later it is done between the
/// making and the program, and the start must be stopped.
#[test]
fn a_container_that_was_tampered_with_does_not_run() {
    let (host, dir) = (Host::new("tamper"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    let over = AtomicBool::new(false);
    let group = group_of(&field, &image);
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir(&group).into_iter().flatten().flatten() {
                    // Most of the time there is nothing to raise.
                    let _ = std::fs::write(entry.path().join("pids.max"), "max");
                }
            }
        });
        let end = Over(&over);
        let said =
            (0..100).map(|_| field.run(&[&image, "echo", "ran"]).1).find(|said| !said.starts_with("ran"));
        drop(end);
        said
    });
    let said = said.expect("one of a hundred starts meets the tampering");
    assert!(said.contains("Pids limit: asked for 1024, found no limit"), "{said}");
    field.finish();
}

/// The same for what is sent into a running container, health checks among it: somebody moves each new process out
/// of the container's cgroup at once.
#[test]
fn a_further_process_that_was_tampered_with_does_not_run() {
    let (host, dir) = (Host::new("tampx"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    let group = group_of(&field, &image);
    let checks = ["--health-cmd", "echo fine", "--health-interval", "20ms", "--health-retries", "1"];
    let run = [&["container", "run", "-d", "--name", "c"], &checks[..], &[&image, "sleep", "1000"]].concat();
    let id = field.solo.ctl(&run);
    let (from, to) = (group.join(id.trim()).join("cgroup.procs"), group.join("cgroup.procs"));
    let first = field.solo.json(&["container", "ls"])[0]["pid"].to_string();
    let over = AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let inside = std::fs::read_to_string(&from).unwrap_or_default();
                for pid in inside.lines().filter(|pid| *pid != first) {
                    // It may have ended.
                    let _ = std::fs::write(&to, pid);
                }
            }
        });
        let end = Over(&over);
        let exec = ["container", "exec", "c", "echo", "ran"];
        let said = (0..100)
            .map(|_| itest::programs::said(&field.solo.try_ctl(&exec)))
            .find(|said| !said.starts_with("ran"));
        wait::until("a health check meets the tampering", SOON, || {
            let shown = field.solo.json(&["container", "inspect", "c"]);
            let log = shown[0]["state"]["health_checks"]["log"].to_string();
            if log.contains("asked for /roadstead") { Ok(()) } else { Err(log) }
        });
        drop(end);
        said
    });
    let said = said.expect("one of a hundred meets the tampering");
    assert!(said.contains("asked for /roadstead") && said.contains("its program was not run"), "{said}");
    let events =
        ["events", "--since", "1h", "--until", "0s", "--filter", "event=attest_failed", "--output", "json"];
    let events = field.solo.ctl(&events);
    assert!(events.contains("execID") && events.contains("asked for /roadstead"), "{events}");
    assert_eq!(field.solo.ctl(&["container", "exec", "c", "echo", "well"]), "well\n");
    field.solo.ctl(&["container", "rm", "--force", "c"]);
    field.finish();
}

/// The cgroup above those of the agent's containers, where the limit of processes is.
fn group_of(field: &Field<'_>, image: &str) -> std::path::PathBuf {
    field.solo.ctl(&["container", "run", "-d", "--name", "first", image, "sleep", "100"]);
    let pid = field.solo.json(&["container", "ls"])[0]["pid"].to_string();
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let (mount, line) = groups
        .lines()
        .find(|line| line.contains(":pids:"))
        .map_or(("/sys/fs/cgroup", groups.lines().last()), |line| ("/sys/fs/cgroup/pids", Some(line)));
    let path = line.and_then(|line| line.rsplit(':').next()).expect("a cgroup");
    let path = Path::new(mount).join(path.trim_start_matches('/'));
    field.solo.ctl(&["container", "rm", "--force", "first"]);
    wait::until("it is gone", SOON, || if path.exists() { Err(path.display().to_string()) } else { Ok(()) });
    path.parent().expect("a cgroup of the agent's").to_owned()
}
