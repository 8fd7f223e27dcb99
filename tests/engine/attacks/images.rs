//! Images that lie, and images that bring programs which a careless engine would run.

use itest::host::Host;
use itest::image::{self, Tree};

use super::Field;
use crate::scratch;

/// Programs and libraries that engines have run with their own rights from a container's files.
const TROJANS: [&str; 16] = [
    "bin/xz",
    "bin/gzip",
    "usr/bin/unpigz",
    "usr/bin/tar",
    "bin/ps",
    "usr/bin/nsenter",
    "sbin/modprobe",
    "usr/sbin/iptables",
    "usr/sbin/nft",
    "sbin/ip",
    "bin/mount",
    "bin/umount",
    "usr/bin/newuidmap",
    "lib/libnss_files.so.2",
    "lib/x86_64-linux-gnu/libnss_dns.so.2",
    "etc/ld.so.preload",
];

#[test]
fn links_of_an_image_lead_nowhere_on_the_host() {
    let (host, dir) = (Host::new("links"), scratch());
    let field = Field::new(&host, dir.path());
    let canary = field.canary.text();
    let upwards = format!("../../../../../../../..{canary}");
    for (number, (path, target)) in [
        ("proc", canary.as_str()),
        ("sys", &upwards),
        ("dev", &canary),
        ("etc", &canary),
        ("tmp", &upwards),
        ("work", &canary),
        ("work", "/proc/self/fd/5"),
        ("etc", "/proc/1/root/etc"),
        ("dev/shm", &canary),
        ("etc/hosts", &format!("{canary}/passwd")),
        ("etc/resolv.conf", &format!("{upwards}/file")),
        ("etc/hostname", "/proc/sysrq-trigger"),
    ]
    .iter()
    .enumerate()
    {
        let mut tree = image::busybox_tree(&[path]);
        tree.link(path, target);
        let image = field.image(&format!("link{number}"), &tree.image(&["sh"]));
        let script = format!("(echo evil >/{path}/evil; echo evil >/{path}) 2>/dev/null; true");
        let _ = field.run(&["-w", "/work/here", &image, "sh", "-c", &script]);
        let _ = field.in_terminal(&["container", "run", "--rm", "-t", &image, "sh", "-c", &script]);
    }
    field.finish();
}

#[test]
fn nodes_of_an_image_are_covered_or_do_not_open() {
    let (host, dir) = (Host::new("nodes"), scratch());
    let field = Field::new(&host, dir.path());
    let mut tree = image::busybox_tree(&["dev"]);
    tree.folder("dev", 0o755).folder("dev/pts", 0o755);
    for name in ["dev/null", "dev/zero", "dev/ptmx", "dev/console", "dev/pts/0", "dev/pts/ptmx", "dev/tty"] {
        tree.file(name, 0o666, b"planted");
    }
    tree.node("kmsg", tar::EntryType::Char, 1, 11);
    tree.node("disk", tar::EntryType::Block, 254, 0);
    tree.node("pipe", tar::EntryType::Fifo, 0, 0);
    let image = field.image("nodes", &tree.image(&["sh"]));
    let (good, said) = field.run(&[
        &image,
        "sh",
        "-c",
        "for f in /dev/*; do [ -f $f ] && cat $f; done; stat -c %t:%T /dev/null /dev/zero; \
         (exec 3</kmsg) 2>/dev/null && echo won; (exec 3</disk) 2>/dev/null && echo won; true",
    ]);
    // An image may also be refused for its nodes.
    assert!(!said.contains("planted") && !said.contains("won"), "{said}");
    assert!(!good || said.contains("1:3\n1:5"), "{said}");
    let script = "tty; echo written >/dev/console; for f in /dev/*; do [ -f $f ] && cat $f; done; true";
    let (good, said) = field.in_terminal(&["container", "run", "--rm", "-t", &image, "sh", "-c", script]);
    assert!(!said.contains("planted"), "{said}");
    assert!(!good || said == "/dev/pts/0\nwritten\n", "{said}");
    field.finish();
}

/// What `ctl` can do to a container, but for removing it. What is executed in it is the trojans' own business.
const EVERY_VERB: [&str; 26] = [
    "container ls --all --size",
    "container inspect horse",
    "container logs horse",
    "container stats --no-stream horse",
    "container top horse",
    "container port horse",
    "container diff horse",
    "container cp FILE horse:/tmp/file",
    "container cp -a FILE horse:/etc/file",
    "container cp horse:/lib OUT",
    "container export -f OUT.tar horse",
    "container commit horse trojan:2",
    "container exec horse /bin/busybox true",
    "container exec -u nobody -w /tmp horse /bin/busybox true",
    "container pause horse",
    "container top horse",
    "container unpause horse",
    "container update --memory 64m horse",
    "container rename horse trojan",
    "container restart -t 0 trojan",
    "container kill trojan",
    "container wait trojan",
    "container cp FILE trojan:/tmp/file",
    "container diff trojan",
    "container start trojan",
    "image ls",
];

#[test]
fn programs_of_an_image_are_run_by_nobody_but_the_container() {
    let (host, dir) = (Host::new("trojans"), scratch());
    let field = Field::new(&host, dir.path());
    let mut tree = image::busybox_tree(&["bin/ps", "bin/mount"]);
    for trojan in TROJANS {
        tree.file(trojan, 0o4755, b"#!/bin/sh\necho ran >>/trojan-ran\necho ran >>/tmp/trojan-ran\n");
    }
    let image = field.image("trojans", &tree.image(&["sleep", "1000"]));
    let marks = ["/tmp/trojan-ran", "/trojan-ran"].map(std::path::Path::new);
    for mark in marks {
        let _ = std::fs::remove_file(mark);
    }
    field.solo.ctl(&["container", "run", "-d", "--name", "horse", &image]);
    let file = dir.path().join("file");
    std::fs::write(&file, "from outside").expect("the test's directory is writable");
    let (file, out) = (file.display().to_string(), dir.path().join("out").display().to_string());
    let archive = format!("{out}.tar");
    for verb in EVERY_VERB {
        let verb: Vec<&str> = verb
            .split(' ')
            .map(|word| if word == "FILE" { file.as_str() } else { word })
            .map(|word| match word {
                "OUT" => out.as_str(),
                "OUT.tar" => archive.as_str(),
                word => word,
            })
            .collect();
        let said = itest::programs::said(&field.solo.try_ctl(&verb));
        assert!(!said.contains("unrecognized") && !said.contains("unexpected argument"), "{verb:?}: {said}");
    }
    let store = dir.path().join("data/agent/snapshots");
    let found = itest::programs::succeed(
        std::process::Command::new("find").arg(&store).args(["-name", "trojan-ran"]),
    );
    let ran: Vec<_> = marks.into_iter().filter(|mark| std::fs::remove_file(mark).is_ok()).collect();
    assert!(found.is_empty() && ran.is_empty(), "{found} {ran:?}");
    field.solo.ctl(&["container", "rm", "--force", "trojan"]);
    field.finish();
}

/// The tree type is used by name above all.
#[test]
fn an_empty_image_is_refused_in_words() {
    let (host, dir) = (Host::new("empty"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("empty", &Tree::default().image(&["/nothing"]));
    let (good, said) = field.run(&[&image]);
    assert!(!good && !said.contains("panicked"), "{said}");
    field.finish();
}
