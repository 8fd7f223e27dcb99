//! What containers write, as it is kept and read back: by people, by programs and by Docker's own tools.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use itest::dev::kill;
use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, wait};
use serde_json::Value;

use crate::{SOON, scratch};

/// A host whose registry has busybox.
struct Lab {
    host: Host,
    image: String,
}

impl Lab {
    fn new(name: &str) -> Self {
        Self { host: Host::new(name), image: format!("{ADDRESS}/busybox:1") }
    }

    fn start(&self, root: &Path) -> (Registry<'_>, Solo<'_>) {
        let registry = Registry::start(&self.host, root);
        registry.push("busybox", "1", &image::busybox(&["sh"]));
        (registry, Solo::start(&self.host, root))
    }

    /// Runs a script to its end, or in the background with `-d` among the options.
    fn run(&self, solo: &Solo<'_>, options: &[&str], script: &str) -> String {
        solo.ctl(&[&["run"], options, &[&self.image, "sh", "-c", script]].concat()).trim().to_owned()
    }
}

/// What `ctl logs` writes to its standard output and to its standard error.
fn both(solo: &Solo<'_>, arguments: &[&str]) -> (String, String) {
    let output = solo.try_ctl(&[&["logs"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (text(output.stdout), text(output.stderr))
}

fn state_dir(solo: &Solo<'_>, name: &str) -> PathBuf {
    let id = solo.json(&["container", "inspect", name])[0]["id"].as_str().unwrap_or_default().to_owned();
    solo.root().join("data/agent/containers").join(id)
}

#[test]
fn lines_are_read_back_as_they_are_asked_for_also_after_the_agent_has_ended() {
    let (lab, dir) = (Lab::new("logr"), scratch());
    let (_registry, mut solo) = lab.start(dir.path());
    let script = "echo one; echo two >&2; sleep 1.1; echo three; echo four >&2; printf five";
    for driver in ["local", "json-file"] {
        let options = [
            "--name",
            driver,
            "--log-driver",
            driver,
            "--log-opt",
            "labels=part",
            "--log-opt",
            "env=MINE,NOT",
        ];
        lab.run(&solo, &[&options[..], &["--label", "part=a b", "-e", "MINE=1"]].concat(), script);
    }
    for _ in 0..2 {
        for driver in ["local", "json-file"] {
            let stdout = |options: &[&str]| both(&solo, &[options, &[driver]].concat()).0;
            let all = both(&solo, &[driver]);
            assert_eq!((all.0.as_str(), all.1.as_str()), ("one\nthree\nfive", "two\nfour\n"), "{driver}");
            let tail = both(&solo, &["--tail", "2", driver]);
            assert_eq!((tail.0.as_str(), tail.1.as_str()), ("five", "four\n"), "{driver}");
            assert_eq!((stdout(&["-n", "0"]), stdout(&["--tail", "all"])), (String::new(), all.0.clone()));
            let timed = stdout(&["--timestamps"]);
            let times: Vec<&str> =
                timed.lines().map(|line| line.split_once(' ').expect("a time").0).collect();
            assert!(times.iter().all(|time| time.len() == 30 && time.ends_with('Z')), "{timed}");
            assert_eq!(stdout(&["--since", times[1]]), "three\nfive", "the bounds are among them");
            assert_eq!(stdout(&["--until", times[1]]), "one\nthree\n");
            assert_eq!(stdout(&["--since", "1h"]), all.0);
            assert_eq!(stdout(&["--until", "1h"]), "");
            assert_eq!(stdout(&["--follow", "--details", "--tail", "1"]), "MINE=1,part=a+b five");
            let detailed = stdout(&["-t", "--details"]);
            assert!(
                detailed.lines().all(|line| line.split(' ').nth(1) == Some("MINE=1,part=a+b")),
                "{detailed}"
            );
            let json = stdout(&["--output", "json"]);
            let lines: Vec<Value> =
                json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            assert_eq!((&lines[1]["text"], &lines[1]["stream"]), (&"two".into(), &"stderr".into()), "{json}");
        }
        solo.kill_agent();
        solo.start_again();
    }
    solo.ctl(&["container", "rm", "local", "json-file"]);
}

#[test]
fn a_json_file_log_is_what_dockers_own_reader_takes() {
    let (lab, dir) = (Lab::new("logj"), scratch());
    let (_registry, solo) = lab.start(dir.path());
    let options = [
        ["--name", "web"],
        ["--log-driver", "json-file"],
        ["--log-opt", "max-size=20k"],
        ["--log-opt", "max-file=3"],
        ["--log-opt", "tag={{.Name}}/{{.ID}}"],
    ];
    lab.run(&solo, options.as_flattened(), "i=0; while [ $i -lt 1000 ]; do echo \"line <$i>\"; i=$((i+1)); done; yes | head -c 40000 | tr -d '\\n'; printf '\\377'");
    let state = state_dir(&solo, "web");
    let id = state.file_name().expect("it ends with the id").to_string_lossy().into_owned();
    let listed = std::fs::read_dir(&state).expect("it is there").flatten();
    let mut names: Vec<String> = listed.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.contains("json"));
    names.retain(|name| name != "exit.json");
    names.sort();
    assert_eq!(names, [format!("{id}-json.log"), format!("{id}-json.log.1"), format!("{id}-json.log.2")]);
    let (mut text, mut last) = (String::new(), String::new());
    for name in names.iter().rev() {
        let file = std::fs::read_to_string(state.join(name)).expect("it is text");
        assert!(file.len() <= 20_000 + 20_000 && file.ends_with('\n'), "{name}: {}", file.len());
        for line in file.lines() {
            let record: serde_json::Map<String, Value> = serde_json::from_str(line).expect("an object");
            let mut keys: Vec<&str> = record.keys().map(String::as_str).collect();
            keys.sort_unstable();
            assert_eq!(keys, ["attrs", "log", "stream", "time"], "and no others: {line}");
            let order = ["\"log\":", "\"stream\":", "\"attrs\":", "\"time\":"].map(|key| line.find(key));
            assert!(order.is_sorted() && !line.contains('<'), "{line}");
            assert_eq!(record["attrs"]["tag"], format!("web/{}", &id[..12]));
            let time = record["time"].as_str().expect("a text");
            assert!(time.ends_with('Z') && time.len() <= 30, "RFC 3339 with up to nine digits: {time}");
            let padded = format!("{:0<29}", time.trim_end_matches('Z'));
            assert!(padded >= last, "{padded} after {last}");
            last = padded;
            text.push_str(record["log"].as_str().expect("a text"));
        }
    }
    assert!(text.contains("line <999>\n"));
    let long = text.split_once("line <999>\n").expect("it was written").1;
    assert_eq!(
        long,
        "y".repeat(20_000) + "\u{fffd}",
        "a long line is whole when its pieces are put together"
    );
    let shown = solo.json(&["container", "inspect", "web"])[0].clone();
    assert_eq!(shown["log_path"], state.join(&names[0]).to_string_lossy().as_ref());
    assert_eq!(both(&solo, &["--tail", "1", "web"]).0.len(), long.len());
    solo.ctl(&["container", "rm", "web"]);
}

#[test]
fn what_is_not_kept_or_not_taken_is_said() {
    let (lab, dir) = (Lab::new("logn"), scratch());
    let (_registry, solo) = lab.start(dir.path());
    assert_eq!(lab.run(&solo, &["--name", "quiet", "--log-driver", "none"], "echo hello"), "hello");
    let (code, said) = solo.refused(&["logs", "quiet"]);
    assert!(code == 6 && said.contains("keeps no log") && said.contains("attach"), "{code}: {said}");
    let written = std::fs::read_dir(state_dir(&solo, "quiet")).expect("it is there").flatten();
    assert!(written.into_iter().all(|file| !file.file_name().to_string_lossy().contains("log")));
    for (options, why) in [
        (&["--log-driver", "journald"][..], "collector"),
        (&["--log-driver", "none", "--log-opt", "max-size=1m"], "keeps nothing"),
        (&["--log-opt", "compress=maybe"], "neither true nor false"),
        (&["--log-opt", "mode=non-blocking"], "non-blocking"),
        (&["--log-opt", "max-size=lots"], "10m"),
        (&["--log-opt", "size=1m"], "there are max-size"),
        (&["--log-opt", "tag={{.Nmae}}"], ".Name"),
    ] {
        let (code, said) = solo.refused(&[&["run"], options, &[&lab.image, "true"]].concat());
        assert!(code == 125 && said.contains(why), "{options:?}: {code}: {said}");
    }
    assert_eq!(solo.json(&["ps", "-a"]).as_array().map(Vec::len), Some(1), "nothing else was made");
    solo.ctl(&["container", "rm", "quiet"]);
}

/// The files hold a fifth of what is written, and go round many times while somebody reads.
#[test]
fn whoever_follows_sees_each_line_once_through_every_rotation() {
    const LINES: usize = 20_000;
    let (lab, dir) = (Lab::new("logf"), scratch());
    let (_registry, solo) = lab.start(dir.path());
    for (driver, size) in [("local", "16k"), ("json-file", "100k")] {
        // Bursts of a hundred lines, with rests in which a reader on a busy machine can come after.
        let script = format!(
            "i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); [ $((i%100)) = 0 ] && sleep 0.02; done; :"
        );
        let options = ["-d", "--name", driver, "--log-driver", driver, "--log-opt"];
        let size = format!("max-size={size}");
        lab.run(&solo, &[&options[..], &[&size, "--log-opt", "max-file=4"]].concat(), &script);
        let mut follower =
            solo.command(&["logs", "-f", driver]).stdout(Stdio::piped()).spawn().expect("ctl starts");
        let lines = BufReader::new(follower.stdout.take().expect("it is piped")).lines();
        let mut next = 0;
        for line in lines.map(|line| line.expect("text")) {
            assert_eq!(line, format!("line {next}"), "{driver}");
            next += 1;
        }
        assert_eq!(next, LINES, "{driver}");
        assert!(follower.wait().expect("it ends").success());
        let kept = both(&solo, &[driver]).0;
        assert!(kept.lines().count() < LINES / 2, "{driver}: it was rotated");
        solo.ctl(&["container", "rm", "-f", driver]);
    }
}

#[test]
fn a_dead_keeper_leaves_all_that_it_had_read_and_the_log_goes_on_behind_it() {
    let (lab, dir) = (Lab::new("logk"), scratch());
    let (_registry, solo) = lab.start(dir.path());
    for driver in ["local", "json-file"] {
        let script = "i=0; while :; do echo line $i; i=$((i+1)); done";
        lab.run(
            &solo,
            &["-d", "--name", driver, "--log-driver", driver, "--log-opt", "max-size=100m"],
            script,
        );
        wait::until("it has written", SOON, || {
            let tail = both(&solo, &["--tail", "1", driver]).0;
            if tail.len() > "line 20000\n".len() - 1 { Ok(()) } else { Err(tail) }
        });
        let seen = both(&solo, &["--tail", "1", driver]).0;
        kill(solo.keeper_pid(), "KILL");
        wait::until("its end is known", SOON, || {
            let state = solo.json(&["container", "inspect", driver])[0]["state"]["status"].clone();
            if state == "exited" { Ok(()) } else { Err(state.to_string()) }
        });
        let numbers = |text: &str| -> Vec<usize> {
            text.lines().map(|line| line.trim_start_matches("line ").parse().expect("a number")).collect()
        };
        let kept = numbers(&both(&solo, &[driver]).0);
        assert!(kept.iter().copied().eq(0..kept.len()), "{driver}: nothing is missing");
        assert!(kept.len() > numbers(&seen)[0], "{driver}: what was seen is still there");
        solo.ctl(&["container", "start", driver]);
        wait::until("it writes again", SOON, || {
            let now = numbers(&both(&solo, &[driver]).0);
            if now.len() > kept.len() && now[kept.len()] == 0 { Ok(()) } else { Err(now.len().to_string()) }
        });
        solo.ctl(&["container", "rm", "-f", driver]);
    }
}

#[test]
fn a_container_that_never_ends_its_line_takes_no_memory_of_the_keeper() {
    let (lab, dir) = (Lab::new("logm"), scratch());
    let (_registry, solo) = lab.start(dir.path());
    let resident = || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", solo.keeper_pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it lives");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    lab.run(&solo, &["-d", "--name", "first"], "sleep 1000");
    let before = resident();
    lab.run(&solo, &["-d", "--name", "long"], "tr '\\0' x < /dev/zero");
    std::thread::sleep(Duration::from_secs(3));
    let after = resident();
    assert!(after < before + 4_096, "{before} kB became {after} kB");
    let size: u64 = std::fs::read_dir(state_dir(&solo, "long").join("log"))
        .expect("it is there")
        .flatten()
        .map(|file| file.metadata().map_or(0, |metadata| metadata.len()))
        .sum();
    assert!(size > 1 << 20 && size <= 30 << 20, "{size} bytes are kept");
    solo.ctl(&["container", "rm", "-f", "first", "long"]);
}

#[test]
fn logs_from_before_there_were_drivers_are_read_first() {
    let (lab, dir) = (Lab::new("logo"), scratch());
    let (_registry, solo) = lab.start(dir.path());
    solo.ctl(&["container", "create", "--name", "old", &lab.image, "echo", "new"]);
    let log = state_dir(&solo, "old").join("log");
    std::fs::create_dir(&log).expect("the container was never started");
    let line = |text: &str| {
        format!(
            "{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-31T12:00:00.000000001Z\"}}\n"
        )
    };
    std::fs::write(log.join("1"), line("oldest")).expect("it is writable");
    std::fs::write(log.join("current"), line("older")).expect("it is writable");
    assert_eq!(both(&solo, &["old"]).0, "oldest\nolder\n");
    solo.ctl(&["container", "start", "old"]);
    solo.ctl(&["container", "wait", "old"]);
    assert_eq!(both(&solo, &["old"]).0, "oldest\nolder\nnew\n");
    assert_eq!(both(&solo, &["--tail", "2", "old"]).0, "older\nnew\n");
    solo.ctl(&["container", "rm", "old"]);
}
