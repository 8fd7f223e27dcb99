//! Logs whose old files are compressed: on disk as Docker has them, and read as if nothing had happened, before, during
//! and after.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, wait};

use crate::{SOON, scratch};

const LINES: usize = 6_000;

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("log"))
        .collect()
}

fn expected(from: usize) -> String {
    (from..LINES).map(|number| format!("line {number}\n")).collect()
}

#[test]
fn old_files_of_a_log_are_compressed_and_read_as_before() {
    let (host, dir) = (Host::new("logz"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let mut solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    let script = format!("i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); done; sleep 1000");
    let options = ["--log-opt", "compress=true", "--log-opt", "max-size=20k", "--log-opt", "max-file=90"];
    for driver in ["json-file", "local"] {
        let create = ["container", "create", "--name", driver, "--log-driver", driver];
        let id = solo.ctl(&[&create[..], &options, &[&image, "sh", "-c", &script]].concat());
        let state = solo.root().join("data/agent/containers").join(id.trim());
        let mut follower =
            solo.command(&["logs", "-f", driver]).stdout(Stdio::piped()).spawn().expect("ctl starts");
        solo.ctl(&["container", "start", driver]);
        let files = if driver == "local" { state.join("log") } else { state.clone() };
        wait::until("all old files are compressed", SOON, || {
            let names = names(&files);
            let plain = names.iter().filter(|name| !name.ends_with(".gz")).count();
            let whole = solo.ctl(&["logs", "--tail", "1", driver]) == format!("line {}\n", LINES - 1);
            if whole && plain == 1 && names.len() > 2 { Ok(()) } else { Err(format!("{whole} {names:?}")) }
        });
        assert_eq!(solo.ctl(&["logs", driver]), expected(0), "{driver}");
        assert_eq!(solo.ctl(&["logs", "--tail", "3000", driver]), expected(LINES - 3_000), "{driver}");
        // What followed all the time has missed nothing and repeats nothing.
        let mut seen = vec![0; expected(0).len()];
        follower.stdout.take().expect("a pipe").read_exact(&mut seen).expect("it goes on");
        assert_eq!(String::from_utf8_lossy(&seen), expected(0), "{driver}");
        follower.kill().and_then(|()| follower.wait()).expect("it was our child");
        if driver == "json-file" {
            let packed = state.join(format!("{}-json.log.1.gz", id.trim()));
            let text =
                Command::new("gzip").arg("-dc").arg(&packed).output().expect("gzip is installed").stdout;
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(text.starts_with("{\"log\":\"line ") && text.ends_with("\"}\n"), "{text}");
        }
    }
    // Another agent knows them too.
    solo.kill_agent();
    solo.start_again();
    assert_eq!(solo.ctl(&["logs", "local"]), expected(0));
    let (code, said) =
        solo.refused(&["run", "--log-opt", "compress=true", "--log-opt", "max-file=1", &image, "true"]);
    assert!(code == 125 && said.contains("max-file=1"), "{code}: {said}");
    solo.ctl(&["container", "rm", "-f", "json-file", "local"]);
}
