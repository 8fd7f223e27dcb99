//! What containers use, as it is shown.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, wait};
use serde_json::Value;

use crate::{SOON, scratch};

#[test]
fn processor_memory_network_and_block_devices_are_those_of_the_container() {
    let (host, dir) = (Host::new("stat"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    solo.ctl(&["run", "-d", "--name", "busy", "-m", "64m", &image, "sh", "-c", "while :; do :; done"]);
    // Written through to the disk, kept in memory, and sent to somebody.
    let script = "dd if=/dev/zero of=/file bs=1M count=20 conv=fsync; dd if=/dev/zero of=/dev/shm/x bs=1M count=8; \
                  gateway=$(busybox route -n | busybox awk '$1 == \"0.0.0.0\" { print $2 }'); \
                  while :; do busybox nc -w 1 $gateway 9 </dev/null; sleep 0.05; done";
    solo.ctl(&["run", "-d", "--name", "writer", &image, "sh", "-c", script]);
    solo.ctl(&[
        "run",
        "-d",
        "--name",
        "onhost",
        "--network",
        "host",
        "--userns",
        "host",
        &image,
        "sleep",
        "1000",
    ]);
    solo.ctl(&["container", "create", "--name", "idle", &image, "true"]);
    let rows = |arguments: &[&str]| {
        let all = [&["container", "stats", "--no-stream"], arguments].concat();
        solo.json(&all).as_array().cloned().expect("an array")
    };
    let row = |name: &str| rows(&[name])[0].clone();
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap_or_default();
    wait::until("it has written and sent", SOON, || {
        let row = row("writer");
        let is_so = number(&row, "memory_bytes") > 8 << 20 && number(&row, "network_sent_bytes") > 2_000;
        if is_so { Ok(()) } else { Err(row.to_string()) }
    });
    let (busy, writer, onhost) = (row("busy"), row("writer"), row("onhost"));
    assert!(busy["cpu_percent"].as_f64().is_some_and(|percent| (5.0..115.0).contains(&percent)), "{busy}");
    assert_eq!(number(&busy, "memory_limit_bytes"), 64 << 20);
    assert!(busy["memory_percent"].as_f64().is_some_and(|percent| percent > 0.0 && percent < 50.0), "{busy}");
    assert!(writer["cpu_percent"].as_f64().is_some_and(|percent| percent < 60.0), "{writer}");
    assert!(number(&writer, "network_received_bytes") > 500, "{writer}");
    assert!(
        number(&writer, "memory_bytes") < 24 << 20,
        "what lies in the page cache does not count: {writer}"
    );
    assert!(onhost["network_sent_bytes"].is_null() && number(&onhost, "pids") == 1, "{onhost}");
    if writer["block_written_bytes"].is_u64() {
        assert!(number(&writer, "block_written_bytes") >= 20 << 20, "{writer}");
    }
    assert_eq!((rows(&[]).len(), rows(&["--all"]).len()), (3, 4));
    let idle = row("idle");
    assert_eq!((&idle["running"], &idle["cpu_percent"]), (&false.into(), &Value::Null));
    let table = solo.ctl(&["container", "stats", "--no-stream", "--all"]);
    let heading = table.lines().next().unwrap_or_default();
    for column in
        ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]
    {
        assert!(heading.contains(column), "{table}");
    }
    assert!(table.contains('%') && table.contains("64.00 MiB") && !table.contains('\u{1b}'), "{table}");
    assert_eq!(solo.refused(&["container", "stats", "--no-stream", "nobody"]).0, 3);
    solo.ctl(&["container", "rm", "-f", "busy", "writer", "onhost", "idle"]);
}

#[test]
fn rounds_go_on_until_they_are_interrupted() {
    let (host, dir) = (Host::new("stas"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    solo.ctl(&["run", "-d", "--name", "web", &image, "sleep", "1000"]);
    let mut follower = solo
        .command(&["container", "stats", "--output", "json", "web"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("ctl starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("it is piped")).lines();
    for _ in 0..3 {
        let line = lines.next().expect("a line").expect("text");
        let row: Value = serde_json::from_str(&line).expect("JSON");
        assert!(row["name"] == "web" && row["cpu_percent"].is_f64(), "{row}");
    }
    itest::dev::kill(follower.id(), "INT");
    assert!(follower.wait().expect("it ends").success());
    solo.ctl(&["container", "rm", "-f", "web"]);
}
