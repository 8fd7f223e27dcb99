//! Terminals: a container that puts something else where a further process gets its own from, and terminals that are in
//! other hands than their session's.

use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use itest::host::Host;
use itest::{image, wait};

use super::Field;
use crate::{SOON, scratch};

/// What a container's root does to its `/dev`, and, with the right to mount, to what is mounted there.
const SWAPS: &[&str] = &[
    "rm -f /dev/ptmx; ln -s /tmp/planted /dev/ptmx",
    "rm -f /dev/ptmx; busybox mkfifo /dev/ptmx",
    "rm -f /dev/ptmx; ln -s /proc/1/fd/0 /dev/ptmx",
    "rm -f /dev/console /dev/tty; ln -s /tmp/planted /dev/console; ln -s /tmp/planted /dev/tty",
    "mv /dev/pts /dev/pts2; mkdir -p /dev/pts; ln -s /tmp/planted /dev/pts/ptmx; ln -s /tmp/planted /dev/pts/0",
    "busybox umount /dev/console; echo > /dev/console",
    "busybox umount -l /dev/pts; ln -s /tmp/planted /dev/pts/ptmx",
    "busybox umount -l /dev/pts; rm -f /dev/pts/ptmx; busybox mkfifo /dev/pts/ptmx",
    "busybox umount -l /dev/pts; rm -rf /dev/pts; ln -s /tmp /dev/pts; cp /tmp/planted /tmp/ptmx",
    "busybox umount -l /dev/pts; rm -rf /dev/pts; mkdir /dev/pts; touch /dev/pts/ptmx; mount -o bind /dev/zero /dev/pts/ptmx",
    "busybox umount -l /dev/pts; rm -rf /dev/pts; mkdir /dev/pts; mount -t tmpfs x /dev/pts; touch /dev/pts/ptmx /dev/pts/0",
    "mount -t devpts -o newinstance,ptmxmode=0666 x /dev/pts",
    "busybox umount -l /dev; ln -s / /dev/pts",
];

#[test]
fn a_further_processs_terminal_is_none_that_the_container_planted() {
    let (host, dir) = (Host::new("ptmx"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    let loose = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
    for (flags, may_mount) in [(&[][..], false), (&["-t"], false), (&loose, true)] {
        // Without the right to mount the later ones come to nothing.
        for swap in SWAPS.iter().take(if may_mount { SWAPS.len() } else { 6 }) {
            let what = format!("{flags:?} {swap}");
            let script = format!(
                "echo planted >/tmp/planted; chmod 666 /tmp/planted; {{ {swap}; }} 2>/dev/null; touch /tmp/done; exec sleep 1000"
            );
            let run = [&["container", "run", "-d", "--name", "c"], flags, &[&image, "sh", "-c", &script]];
            field.solo.ctl(&run.concat());
            // From outside: without its /dev nothing runs in it that wants /dev/null.
            let listed = field.solo.json(&["container", "ls", "--filter", "name=c"]);
            let tmp = std::path::PathBuf::from(format!("/proc/{}/root/tmp", listed[0]["pid"]));
            wait::until(
                &what,
                SOON,
                || if tmp.join("done").exists() { Ok(()) } else { Err("not done".into()) },
            );
            let since = Instant::now();
            let exec = ["container", "exec", "-t", "c", "sh", "-c", "tty; echo wrote"];
            let (_, said) = field.in_terminal(&exec);
            assert!(since.elapsed() < SOON, "{what}: {:?}", since.elapsed());
            let is_own = said.starts_with("/dev/pts/") || said.starts_with("not a tty");
            let is_refused = said.contains("open-terminal failed");
            assert!(is_refused || (is_own && said.ends_with("wrote\n")), "{what}: {said}");
            assert!(may_mount || is_own, "{what}: {said}");
            let planted = std::fs::read_to_string(tmp.join("planted")).expect("the container has it");
            assert_eq!(planted, "planted\n", "{what}: {said}");
            field.solo.ctl(&["container", "rm", "--force", "c"]);
        }
    }
    field.finish();
}

/// The device that a descriptor of a container's first process lies on.
fn device(field: &Field<'_>, name: &str, descriptor: u32) -> u64 {
    let listed = field.solo.json(&["container", "ls", "--filter", &format!("name={name}")]);
    let path = format!("/proc/{}/fd/{descriptor}", listed[0]["pid"]);
    std::fs::metadata(&path).unwrap_or_else(|error| panic!("{path}: {error}")).dev()
}

/// With a terminal of somebody else's one can type in its session (`TIOCSTI`), read what is typed there, and hang it up.
#[test]
fn no_terminal_is_the_hosts_or_another_containers() {
    let (host, dir) = (Host::new("pts"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    for name in ["one", "two"] {
        field.solo.ctl(&["container", "run", "-dt", "--name", name, &image, "sleep", "1000"]);
    }
    let hosts = std::fs::metadata("/dev/pts").expect("this host has terminals").dev();
    let (one, two) = (device(&field, "one", 0), device(&field, "two", 0));
    assert!(one != two && one != hosts && two != hosts, "{one} {two} {hosts}");
    // What is on the host's side of a terminal is in nobody's hands inside.
    let script = "for p in /proc/[0-9]*; do for f in $p/fd/*; do readlink $f; done; done 2>/dev/null | grep -c ptmx; \
                  ls /dev/pts | grep -v ptmx; tty </dev/console";
    for name in ["one", "two"] {
        let said = field.solo.try_ctl(&["container", "exec", name, "sh", "-c", script]);
        let said = itest::programs::said(&said);
        assert!(said.starts_with("0\n0\n"), "{name}: {said}");
    }
    field.solo.ctl(&["container", "rm", "--force", "one", "two"]);
    field.finish();
}

/// Whoever holds a terminal of a session that has ended keeps neither the client waiting nor anything of the session.
#[test]
fn a_terminal_in_other_hands_holds_nobody_up() {
    let (host, dir) = (Host::new("hands"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    let volume = ["-v", "shared:/shared"];
    for name in ["one", "two"] {
        let run = [&["container", "run", "-dt", "--name", name], &volume[..], &[&image, "sleep", "1000"]];
        field.solo.ctl(&run.concat());
    }
    let keeper = field.solo.keeper_pid();
    let descriptors = || std::fs::read_dir(format!("/proc/{keeper}/fd")).expect("it runs").count();
    let before = descriptors();
    // Left behind with the terminal open, out of reach of the hang-up.
    let leave = "trap '' HUP; (exec 3<>/dev/tty; sleep 1000) & (sleep 1000 </dev/tty >/dev/tty 2>&1) & sleep 0.2; echo left";
    for round in 0..5 {
        let since = Instant::now();
        let (_, said) = field.in_terminal(&["container", "exec", "-t", "one", "sh", "-c", leave]);
        assert!(
            said.contains("left") && since.elapsed() < SOON,
            "round {round}: {said} {:?}",
            since.elapsed()
        );
    }
    // The other one opens what it can of the first one's: by name, and over the volume they share.
    let theirs = "for f in /dev/pts/* /shared/*; do (echo typed >$f) 2>/dev/null; done; ls /shared; true";
    field.solo.ctl(&[
        "container",
        "exec",
        "one",
        "sh",
        "-c",
        "ln -s /dev/pts/0 /shared/slave; ln -s /proc/1/fd/0 /shared/first",
    ]);
    field.solo.ctl(&["container", "exec", "two", "sh", "-c", theirs]);
    assert!(!field.solo.ctl(&["container", "logs", "one"]).contains("typed"));
    wait::until("the keeper has let go", SOON, || {
        let now = descriptors();
        if now <= before { Ok(()) } else { Err(format!("{now} descriptors, before {before}")) }
    });
    field.solo.ctl(&["container", "rm", "--force", "one", "two"]);
    field.solo.ctl(&["volume", "rm", "shared"]);
    field.finish();
}
