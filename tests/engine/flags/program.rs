//! What the program is, finds, and how it is asked to end.

use super::{Bench, on_a_host};

#[test]
fn the_program_finds_what_was_said() {
    on_a_host("flags-p", |bench| {
        variables_and_labels(bench);
        groups(bench);
        names(bench);
        signals(bench);
        files_and_platforms(bench);
        ports(bench);
        an_init_process(bench);
    });
}

fn variables_and_labels(bench: &Bench<'_>) {
    let file = bench.solo.root().join("variables");
    std::fs::write(&file, "# a comment\nONE=file\nTWO=file\n").expect("a file");
    let file = file.display().to_string();
    let out = bench.sh(&["--env-file", &file, "-e", "TWO=flag"], "echo $ONE $TWO");
    assert_eq!(out, "file flag\n");
    std::fs::write(&file, "bad name=x\n").expect("a file");
    assert!(bench.refused(&["--env-file", &file]).contains(&file));
    bench.start(&[
        "--annotation",
        "seccomp=unconfined",
        "--annotation",
        "privileged=true",
        "--name",
        "noted",
    ]);
    let id = bench.solo.json(&["container", "ls"])[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(bench.status(&id, "Seccomp"), "2", "an annotation confines nothing and frees nothing");
    assert_eq!(bench.status(&id, "CapBnd"), "00000000a80425fb");
}

fn groups(bench: &Bench<'_>) {
    assert_eq!(
        bench.sh(&["--user", "65534", "--group-add", "root", "--group-add", "77"], "id -G"),
        "65534 0 77\n"
    );
    assert!(bench.refused(&["--group-add", "nope"]).contains("nope"));
    for bad in ["-1", "4294967295", "99999999999", "+1", "0x0", "1:70000"] {
        assert!(!bench.refused(&[&format!("--user={bad}")]).is_empty(), "{bad}");
    }
}

fn names(bench: &Bench<'_>) {
    let hosts = bench.sh(&["--add-host", "db:10.9.8.7", "--add-host", "me:host-gateway"], "cat /etc/hosts");
    assert!(hosts.contains("10.9.8.7\tdb\n") && hosts.contains("\tme\n"), "{hosts}");
    assert!(!hosts.contains("host-gateway"), "{hosts}");
    let resolv = bench.sh(
        &["--dns", "9.9.9.9", "--dns-search", "example.org", "--dns-option", "ndots:3"],
        "cat /etc/resolv.conf",
    );
    for line in ["nameserver 9.9.9.9\n", "search example.org\n", "options ndots:3\n"] {
        assert!(resolv.contains(line), "{resolv}");
    }
    assert_eq!(resolv.matches("nameserver").count(), 1, "{resolv}");
    let out =
        bench.sh(&["-h", "left", "--domainname", "right.org"], "hostname; cat /proc/sys/kernel/domainname");
    assert_eq!(out, "left\nright.org\n");
}

fn signals(bench: &Bench<'_>) {
    assert!(bench.refused(&["--stop-signal", "SIGNOPE"]).contains("SIGNOPE"));
    let script = "trap 'exit 42' USR1; echo up; while :; do sleep 0.05; done";
    let line =
        ["container", "run", "-d", "--stop-signal", "SIGUSR1", "--stop-timeout", "9", "--name", "asked"];
    bench.solo.ctl(&[&line[..], &[&bench.image, "sh", "-c", script]].concat());
    itest::wait::until("it has its trap", crate::SOON, || {
        let logs = bench.solo.ctl(&["container", "logs", "asked"]);
        if logs.contains("up") { Ok(()) } else { Err(logs) }
    });
    bench.solo.ctl(&["container", "stop", "asked"]);
    let all = bench.solo.json(&["container", "ls", "--all"]);
    let asked = all.as_array().and_then(|all| all.iter().find(|one| one["name"] == "asked").cloned());
    assert_eq!(asked.map(|one| one["exit_code"].clone()), Some(42.into()), "{all}");
}

fn files_and_platforms(bench: &Bench<'_>) {
    let path = bench.solo.root().join("cid");
    let file = path.display().to_string();
    let id = bench.start(&["--cidfile", &file]);
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), id);
    assert!(bench.refused(&["--cidfile", &file]).contains("exists already"));
    assert!(bench.refused(&["--platform", "linux/arm64"]).contains("linux/amd64"));
    assert_eq!(bench.sh(&["--platform", "linux/amd64", "--quiet"], "echo here"), "here\n");
    for option in ["--ip", "--runtime", "--link", "--network-alias"] {
        assert!(bench.refused(&[&format!("{option}=x")]).contains("is not taken"), "{option}");
    }
}

fn ports(bench: &Bench<'_>) {
    let id = bench.start(&["-P", "--expose", "80", "--expose", "53/udp"]);
    let all = bench.solo.json(&["container", "ls"]);
    let found = all.as_array().and_then(|all| all.iter().find(|one| one["id"] == id.as_str()).cloned());
    let ports = found.expect("it runs")["ports"].to_string();
    assert!(ports.contains("80") && ports.contains("53"), "{ports}");
    let id = bench.start(&["-p", "70", "-p", "18000-18001:80-81"]);
    let shown = bench.solo.ctl(&["container", "port", &id]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(shown.contains("18000") && shown.contains("18001") && !shown.contains("127.0.0.1"), "{shown}");
    assert!(bench.refused(&["-p", "127.0.0.1:80:80"]).contains("leave the address out"));
    assert!(bench.refused(&["--network", "none", "-p", "70"]).contains("publish"));
}

fn an_init_process(bench: &Bench<'_>) {
    // Children that lose their parent become process 1's, which without --init is the program.
    let script = "(sleep 0.1 & ) ; (sleep 0.1 &) ; sleep 1; busybox ps -o stat,comm; exit 7";
    let line = ["container", "run", "--init", "--rm", &bench.image, "sh", "-c", script];
    let output = bench.solo.try_ctl(&line);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(said.contains("init") && !said.contains('Z'), "{said}");

    let id = bench.start(&["--init", "--name", "reaped", "--user", "65534"]);
    let pid = bench.pid(&id);
    assert_eq!(bench.proc(&id, "comm"), "init\n");
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count();
    assert_eq!(open, 0, "it keeps nothing open");
    assert_eq!(
        bench.status(&id, "Uid").split_whitespace().nth(1),
        bench.status(&id, "Uid").split_whitespace().next()
    );
    assert_eq!(bench.status(&id, "NoNewPrivs"), "1");
    assert_eq!(bench.status(&id, "Seccomp"), "2");
    let before = std::time::Instant::now();
    bench.solo.ctl(&["container", "stop", "reaped"]);
    assert!(
        before.elapsed() < std::time::Duration::from_secs(5),
        "TERM ends a program that is not process 1"
    );
    let out = bench.sh(
        &["--init", "--userns", "host"],
        "cat /proc/1/exe 2>&1 | head -c 100; cat /proc/1/environ /proc/1/maps 2>&1; ls -l /proc/1/exe 2>&1",
    );
    assert!(out.matches("Permission denied").count() >= 2, "the keeper's memory cannot be read: {out}");
    let (code, said) = bench.solo.refused(&["container", "run", "--rm", "--init", &bench.image, "/no/such"]);
    assert_eq!(code, 127, "{said}");
}
