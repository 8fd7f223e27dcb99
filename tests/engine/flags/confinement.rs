//! Capabilities, system calls, namespaces and devices, read from outside.

use itest::image;
use itest::registry::{ADDRESS, Registry};

use super::{Bench, on_a_host};

#[test]
fn confinement_is_as_asked_for() {
    on_a_host("flags-c", |bench| {
        capabilities(bench);
        system_calls(bench);
        privileged(bench);
        sysctls(bench);
        devices(bench);
        refusals(bench);
    });
}

#[test]
fn what_is_shared_is_the_hosts_and_the_rest_is_not() {
    on_a_host("flags-n", |bench| {
        networks(bench);
        namespaces(bench);
    });
}

fn capabilities(bench: &Bench<'_>) {
    for (options, bounding) in [
        (&[][..], "00000000a80425fb"),
        (&["--cap-drop", "ALL"], "0000000000000000"),
        (&["--cap-drop", "ALL", "--cap-add", "cap_chown"], "0000000000000001"),
        (&["--cap-add", "SYS_ADMIN"], "00000000a82425fb"),
        (&["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"], "000001ffffdfffff"),
    ] {
        let id = bench.start(options);
        assert_eq!(bench.status(&id, "CapBnd"), bounding, "{options:?}");
        assert_eq!(bench.status(&id, "CapEff"), bounding, "{options:?}");
        assert_eq!(bench.status(&id, "CapInh"), "0000000000000000");
        assert_eq!(bench.status(&id, "CapAmb"), "0000000000000000");
        assert_eq!(bench.status(&id, "NoNewPrivs"), "1");
        bench.solo.ctl(&["container", "rm", "--force", &id]);
    }
    let id = bench.start(&["--user", "65534", "--cap-add", "SYS_ADMIN"]);
    assert_eq!(bench.status(&id, "CapEff"), "0000000000000000", "capabilities are root's");
    let id = bench.start(&["--security-opt", "no-new-privileges=false"]);
    assert_eq!(bench.status(&id, "NoNewPrivs"), "0");
    let output =
        bench.solo.try_ctl(&["container", "run", "--rm", "--cap-add", "NET_ADMIN", &bench.image, "true"]);
    assert!(output.status.success());
    assert!(itest::programs::said(&output).contains("--userns host"), "{output:?}");
}

fn system_calls(bench: &Bench<'_>) {
    let id = bench.start(&["--security-opt", "seccomp=unconfined"]);
    assert_eq!(bench.status(&id, "Seccomp"), "0");
    let profile = bench.solo.root().join("profile.json");
    std::fs::write(
        &profile,
        r#"{ "defaultAction": "SCMP_ACT_ALLOW", "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": [] }],
             "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
                          { "names": ["uname"], "action": "SCMP_ACT_ERRNO", "includes": { "caps": ["CAP_SYS_ADMIN"] } }] }"#,
    )
    .expect("a file");
    let option = format!("seccomp={}", profile.display());
    let script = "busybox mkdir /tmp/x 2>&1; busybox uname -s 2>&1 || true";
    let out = bench.sh(&["--security-opt", &option], script);
    assert!(out.contains("not implemented") && out.contains("Linux"), "{out}");
    let out = bench.sh(&["--security-opt", &option, "--cap-add", "SYS_ADMIN"], script);
    assert!(!out.contains("Linux\n"), "{out}");
    std::fs::write(&profile, "{").expect("a file");
    assert!(bench.refused(&["--security-opt", &option]).contains("no JSON"));
}

fn privileged(bench: &Bench<'_>) {
    let id = bench.start(&["--privileged"]);
    let host = super::read(std::path::Path::new("/proc/self/status"));
    let line = host.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("a set");
    assert_eq!(bench.status(&id, "CapEff"), line.trim(), "all that this host has");
    assert_eq!(bench.status(&id, "Seccomp"), "0");
    assert_eq!(bench.status(&id, "NoNewPrivs"), "0");
    assert_eq!(bench.proc(&id, "uid_map").split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"]);
    let mounts = bench.proc(&id, "mountinfo");
    let sys = mounts.lines().find(|line| line.contains(" /sys ")).expect("a sysfs");
    assert!(sys.contains(" /sys rw"), "{sys}");
    assert!(!mounts.lines().any(|line| line.contains(" /proc/sys ")), "{mounts}");
    let out = bench
        .sh(&["--privileged"], "ls /dev | wc -l; ls -l /dev/loop0; busybox mknod /tmp/n c 1 3 && echo made");
    assert!(out.contains("7,   0") && out.contains("made"), "{out}");
    let out = bench
        .sh(&["--privileged"], "mount -t tmpfs none /tmp && busybox ip link set lo mtu 1400 && echo all");
    assert_eq!(out, "all\n");
    assert!(bench.refused(&["--privileged", "--userns", "private"]).contains("userns"));
    let out = bench.sh(
        &["--security-opt", "systempaths=unconfined"],
        "busybox grep -c ' /proc/' /proc/self/mountinfo || true",
    );
    assert_eq!(out, "0\n", "nothing lies over /proc");
}

fn sysctls(bench: &Bench<'_>) {
    let options = [
        "--sysctl",
        "net.ipv4.ip_forward=0",
        "--sysctl",
        "kernel.shmmni=77",
        "--sysctl",
        "net.core.somaxconn=99",
    ];
    let out = bench.sh(&options, "cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmni net/core/somaxconn");
    assert_eq!(out, "0\n77\n99\n");
    assert!(bench.refused(&["--sysctl", "kernel.core_pattern=x"]).contains("whole host"));
    assert!(bench.refused(&["--sysctl", "net.core.somaxconn=9", "--network", "host"]).contains("shares"));
}

fn devices(bench: &Bench<'_>) {
    let out = bench.sh(
        &["--device", "/dev/loop0:/dev/own/disk:r"],
        "ls -l /dev/own/disk; head -c 1 /dev/own/disk; echo read $?; echo x 2>&1 > /dev/own/disk || echo no",
    );
    assert!(out.contains("7,   0") && out.contains("read 0"), "{out}");
    assert!(out.ends_with("no\n"), "writing is not allowed: {out}");
    let id = bench.start(&["--device", "/dev/fuse", "--device-cgroup-rule", "c 10:200 rwm"]);
    let rules = bench.cgroup(&id, "devices", "devices.list", "cgroup.procs");
    if rules.contains(':') {
        assert!(rules.contains("c 10:229 rwm") && rules.contains("c 10:200 rwm"), "{rules}");
        assert!(!rules.contains("a *:* rwm"), "{rules}");
    }
    let other = bench.sh(&[], "head -c 1 /dev/fuse 2>&1 || true; ls /dev");
    assert!(other.contains("No such file") && !other.contains("loop"), "{other}");
    assert!(bench.refused(&["--device", "/etc/passwd:/dev/x"]).contains("neither a device"));
    assert!(bench.refused(&["--device", "vendor.com/class=one"]).contains("CDI"));
    assert!(bench.refused(&["--gpus", "all"]).contains("CDI"));
}

fn refusals(bench: &Bench<'_>) {
    for (options, word) in [
        (&["--cap-add", "NOPE"][..], "NOPE"),
        (&["--security-opt", "apparmor=x"], "AppArmor"),
        (&["--network", "mine"], "no others yet"),
        (&["--pid", "container:x"], "no container"),
        (&["--uts", "host", "--hostname", "x"], "rename the host"),
        (&["--network", "container:nobody"], "nobody"),
        (&["--network", "none", "-p", "1234:80"], "publish"),
    ] {
        let said = bench.refused(options);
        assert!(said.contains(word), "{options:?}: {said}");
    }
}

fn networks(bench: &Bench<'_>) {
    let out = bench.sh(
        &["--network", "none"],
        "ls /sys/class/net; busybox ping -c 1 -w 2 127.0.0.1 | grep -c ' 0% packet' ; cat /etc/hosts",
    );
    assert!(out.starts_with("lo\n") && out.contains("127.0.1.1"), "{out}");
    let out = bench.sh(&["--network", "none"], "busybox ip addr show lo");
    assert!(out.contains("UP") && out.contains("127.0.0.1/8"), "{out}");

    let agent = bench.solo.agent_pid();
    let of =
        |pid: u64, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
    let id = bench.start(&["--network", "host"]);
    assert_eq!(of(bench.pid(&id), "net"), of(agent.into(), "net"));
    bench.solo.ctl(&["container", "rm", "--force", &id]);

    let first = bench.start(&["--name", "first"]);
    let second = bench.start(&["--network", "container:first"]);
    assert_eq!(of(bench.pid(&first), "net"), of(bench.pid(&second), "net"));
    assert_ne!(of(bench.pid(&first), "user"), of(bench.pid(&second), "user"));
    let lonely = bench.start(&["--network", "none", "--name", "lonely"]);
    let third = bench.start(&["--network", "container:lonely"]);
    assert_eq!(of(bench.pid(&lonely), "net"), of(bench.pid(&third), "net"));
    bench.solo.ctl(&["container", "stop", "-t", "0", "first"]);
    let (_, said) =
        bench.solo.refused(&["container", "run", "--network", "container:first", &bench.image, "true"]);
    assert!(said.contains("start it first"), "{said}");
}

fn namespaces(bench: &Bench<'_>) {
    let agent = u64::from(bench.solo.keeper_pid());
    let of =
        |pid: u64, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
    for (options, shared) in [
        (&[][..], &[][..]),
        (&["--pid", "host"], &["pid"]),
        (&["--uts", "host"], &["uts"]),
        (&["--ipc", "host"], &["ipc"]),
        (&["--userns", "host"], &["user"]),
        (&["--userns", "host", "--cgroupns", "host"], &["user", "cgroup"]),
        (
            &["--pid", "host", "--ipc", "host", "--uts", "host", "--network", "host", "--userns", "host"],
            &["pid", "ipc", "uts", "net", "user"],
        ),
    ] {
        let id = bench.start(options);
        let pid = bench.pid(&id);
        for kind in ["user", "pid", "ipc", "uts", "net", "cgroup", "mnt"] {
            let is_shared = of(pid, kind) == of(agent, kind);
            assert_eq!(is_shared, shared.contains(&kind), "{options:?}: {kind}");
        }
        bench.solo.ctl(&["container", "rm", "--force", &id]);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    assert_eq!(bench.sh(&["--uts", "host"], "hostname"), host);
    let out =
        bench.sh(&["--pid", "host"], &format!("ls -d /proc/{agent}; busybox kill -9 {agent} 2>&1 || true"));
    assert!(out.contains(&format!("/proc/{agent}\n")) && out.contains("not permitted"), "{out}");
    let out = bench.sh(&["--ipc", "none"], "ls /dev/shm 2>&1 || true");
    assert!(out.contains("No such file"), "{out}");
    let out =
        bench.sh(&["--userns", "host"], "cat /proc/self/uid_map; id -u; echo x > /etc/new && echo wrote");
    assert!(out.contains("4294967295") && out.ends_with("0\nwrote\n"), "{out}");
}

#[test]
fn an_image_decides_nothing_about_its_confinement() {
    let (host, dir) = (itest::host::Host::new("flags-i"), crate::scratch());
    let registry = Registry::start(&host, dir.path());
    let plain = image::busybox(&["sleep", "1000"]);
    let mut hostile = plain.clone();
    let mut config: serde_json::Value = serde_json::from_slice(&plain.config).expect("a configuration");
    let wishes = serde_json::json!({
        "Privileged": true, "CapAdd": ["ALL"], "SecurityOpt": ["seccomp=unconfined"], "NetworkMode": "host", "PidMode": "host",
        "UsernsMode": "host", "Devices": [{ "PathOnHost": "/dev/loop0", "PathInContainer": "/dev/loop0" }], "PidsLimit": -1,
        "Init": true, "MaskedPaths": [], "ReadonlyPaths": [], "Isolation": { "confinement": { "privileged": true } }
    });
    config["HostConfig"] = wishes.clone();
    config["isolation"] =
        serde_json::json!({ "confinement": { "privileged": true }, "namespaces": { "user_host": true } });
    config["annotations"] = serde_json::json!({ "io.roadstead.privileged": "true" });
    for (key, value) in wishes.as_object().expect("an object") {
        config["config"][key] = value.clone();
    }
    config["config"]["Labels"] =
        serde_json::json!({ "privileged": "true", "security-opt": "seccomp=unconfined" });
    hostile.config = config.to_string().into_bytes();
    registry.push("plain", "1", &plain);
    registry.push("hostile", "1", &hostile);
    let bench = Bench { solo: itest::solo::Solo::start(&host, dir.path()), image: String::new() };
    let confinement = |name: &str| {
        let image = format!("{ADDRESS}/{name}:1");
        let id = bench.solo.ctl(&["container", "run", "-d", &image]).trim().to_owned();
        let status =
            ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters"];
        let mut seen: Vec<String> = status.map(|name| bench.status(&id, name)).into();
        seen.push(bench.cgroup(&id, "pids", "pids.max", "pids.max"));
        seen.push(bench.proc(&id, "limits"));
        let points = |line: &str| line.split(' ').nth(4).map(str::to_owned);
        seen.push(bench.proc(&id, "mountinfo").lines().filter_map(points).collect::<Vec<_>>().join(" "));
        let host = u64::from(bench.solo.keeper_pid());
        let of =
            |pid: u64, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
        let pid = bench.pid(&id);
        seen.push(
            ["user", "pid", "ipc", "uts", "net", "cgroup"]
                .map(|kind| (of(pid, kind) == of(host, kind)).to_string())
                .join(" "),
        );
        seen
    };
    assert_eq!(confinement("plain"), confinement("hostile"));
}
