//! Users, groups and the files that name them.

use std::path::Path;
use std::time::Instant;

use itest::host::Host;
use itest::image;

use super::Field;
use crate::{SOON, scratch};

#[test]
fn twelve_ways_to_name_a_user_give_its_ids_and_no_more() {
    let (host, dir) = (Host::new("users"), scratch());
    let field = Field::new(&host, dir.path());
    let mut tree = image::busybox_tree(&["etc/passwd", "etc/group"]);
    tree.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n1:x:0:0::/:/bin/sh\n",
    );
    tree.file("etc/group", 0o644, b"root:x:0:\nwww:x:34:\nextra:x:35:web\nwheel:x:10:root\n");
    let image = field.image("users", &tree.image(&["id"]));
    field.solo.ctl(&["container", "run", "-d", "--name", "c", &image, "sleep", "1000"]);
    // A user called "1" is Docker's own trap: the name wins, as there.
    for (user, ids) in [
        ("root", "0 0 0 10"),
        ("0", "0 0 0 10"),
        ("0:0", "0 0 0"),
        ("web", "33 34 34 35"),
        ("33", "33 34 34 35"),
        ("web:www", "33 34 34"),
        ("web:0", "33 0 0"),
        ("33:35", "33 35 35"),
        ("1000", "1000 0 0"),
        ("1000:1000", "1000 1000 1000"),
        ("65534:65534", "65534 65534 65534"),
        ("web:", "33 34 34 35"),
    ] {
        let script = "echo $(id -u) $(id -g) $(id -G); grep -E 'CapInh|CapAmb' /proc/self/status; \
                      [ $(id -u) = 0 ] || grep -E 'CapPrm|CapEff' /proc/self/status";
        let (good, first) = field.run(&["-u", user, &image, "sh", "-c", script]);
        let further = field.solo.try_ctl(&["container", "exec", "-u", user, "c", "sh", "-c", script]);
        let further = (further.status.success(), itest::programs::said(&further));
        for (good, said) in [(good, first), further] {
            assert!(good && said.starts_with(&format!("{ids}\n")), "{user}: {said}");
            let sets: Vec<&str> = said.lines().filter(|line| line.starts_with("Cap")).collect();
            let empty = |line: &&str| line.ends_with("0000000000000000");
            assert!(sets.len() >= 2 && sets.iter().all(empty), "{user}: {said}");
        }
    }
    field.solo.ctl(&["container", "rm", "--force", "c"]);
    field.finish();
}

#[test]
fn numbers_that_overflow_are_refused_and_never_become_root() {
    let (host, dir) = (Host::new("overflow"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["id"]));
    field.solo.ctl(&["container", "run", "-d", "--name", "c", &image, "sleep", "1000"]);
    for user in [
        "65536",
        "2147483647",
        "2147483648",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "-1",
        "+0",
        "0x0",
        " 0",
        "0 ",
        "1e0",
        "0.0",
        "nobody2",
        "0:65536",
        "0:4294967296",
        "0:-1",
        "٠",
        "root:none",
    ] {
        let flag = format!("--user={user}");
        let (good, first) = field.run(&[&flag, &image, "id", "-u"]);
        let further = field.solo.try_ctl(&["container", "exec", &flag, "c", "id", "-u"]);
        for (good, said) in [(good, first), (further.status.success(), itest::programs::said(&further))] {
            assert!(!good && !said.starts_with("0\n"), "{user:?}: {said}");
            assert!(!said.contains("panicked"), "{user:?}: {said}");
        }
    }
    field.solo.ctl(&["container", "rm", "--force", "c"]);
    field.finish();
}

/// A file outside of any image that names a user; answers its path.
fn accounts_of_the_host(dir: &Path) -> String {
    let path = dir.join("accounts");
    std::fs::write(&path, "user:x:77:77::/:/bin/sh\n").expect("the test's directory is writable");
    path.display().to_string()
}

#[test]
fn a_passwd_that_is_no_file_does_not_hang_and_shows_nothing_of_the_host() {
    let (host, dir) = (Host::new("passwd"), scratch());
    let field = Field::new(&host, dir.path());
    let canary = field.canary.text();
    let huge: Vec<u8> = b"user:x:1:1::/:/bin/sh\n".repeat(200_000);
    let accounts = accounts_of_the_host(dir.path());
    for kind in ["fifo", "link", "upwards", "outside", "device", "folder", "huge", "line", "circle"] {
        let mut tree = image::busybox_tree(&["etc/passwd"]);
        match kind {
            "fifo" => drop(tree.node("etc/passwd", tar::EntryType::Fifo, 0, 0)),
            "link" => drop(tree.link("etc/passwd", "/etc/../../../../../../etc/shadow")),
            "upwards" => drop(tree.link("etc/passwd", &format!("../../../../../..{canary}/passwd"))),
            "outside" => drop(tree.link("etc/passwd", &accounts)),
            "device" => drop(tree.node("etc/passwd", tar::EntryType::Char, 1, 5)),
            "folder" => drop(tree.folder("etc/passwd", 0o755)),
            "huge" => drop(tree.file("etc/passwd", 0o644, &huge)),
            "line" => drop(tree.file("etc/passwd", 0o644, &vec![b'a'; 3 << 20])),
            _ => drop(tree.link("etc/passwd", "passwd")),
        }
        let image = field.image(&format!("passwd-{kind}"), &tree.image(&["true"]));
        let since = Instant::now();
        let (good, said) = field.run(&["-u", "user", &image]);
        assert!(!good, "{kind}: there is no such user: {said}");
        assert!(since.elapsed() < SOON, "{kind}: {:?}", since.elapsed());
        assert!(
            !said.contains("untouched") && !said.contains("$y$") && !said.contains("panicked"),
            "{kind}: {said}"
        );
        let (good, said) = field.run(&["-u", "0", &image, "true"]);
        assert!(good || said.contains("larger than") || said.contains("etc/passwd"), "{kind}: {said}");
    }
    field.finish();
}

/// A further process is looked up in what the container has made of its accounts, while that changes.
#[test]
fn accounts_that_a_container_changes_do_not_hang_and_show_nothing_of_the_host() {
    let (host, dir) = (Host::new("accounts"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    let accounts = accounts_of_the_host(dir.path());
    for (users, node) in [(&[][..], ""), (&["--userns", "host"], "busybox mknod /etc/passwd c 1 5; ")] {
        let run = [&["container", "run", "-d", "--name", "c"], users, &[&image, "sh", "-c"]].concat();
        // Each in turn, over and over: what is looked at is seldom what is opened.
        let script = format!(
            "cd /etc; while :; do rm -rf passwd; busybox mkfifo passwd; rm passwd; ln -s {accounts} passwd; rm passwd; \
             ln -s /proc/1/root{accounts} passwd; rm passwd; ln -s /proc/self/environ passwd; rm passwd; \
             mkdir passwd; rm -rf passwd; {node} rm -f passwd; ln -s passwd passwd; rm passwd; \
             echo user:x:1:1::/:/bin/sh >passwd; done 2>/dev/null"
        );
        field.solo.ctl(&[&run[..], &[&script]].concat());
        for round in 0..25 {
            let since = Instant::now();
            let output = field.solo.try_ctl(&["container", "exec", "-u", "user", "c", "id", "-u"]);
            let said = itest::programs::said(&output);
            assert!(since.elapsed() < SOON, "round {round}: {:?}", since.elapsed());
            assert!(!said.contains("panicked"), "round {round}: {said}");
            assert!(!output.status.success() || said == "1\n", "round {round}: {said}");
        }
        field.solo.ctl(&["container", "rm", "--force", "c"]);
    }
    field.finish();
}
