//! Without a collector that answers: nothing is slower, nothing fails, and one
//! line at most says that traces are lost. Without any: the keeper's log still
//! knows the trace, and logs are made for files.

use std::path::Path;
use std::time::{Duration, Instant};

use itest::dev::{self, Dev};
use itest::host::Host;
use itest::{programs, wait};

use crate::{SOON, scratch};

const CREATE: [&str; 5] = ["service", "create", "--name", "web", "roadstead/hello"];

/// The logs of the programs of a cluster, by name.
fn logs(root: &Path) -> Vec<(String, String)> {
    let read = |name: &str| {
        let path = root.join("data/logs").join(name);
        (name.to_owned(), std::fs::read_to_string(&path).unwrap_or_default())
    };
    ["controller.log", "agent.log"].map(read).into()
}

/// Works with a cluster whose collector is `endpoint`; `patience` is what its silence may cost each command.
fn work_goes_on(host: &Host, endpoint: &str, patience: Duration) {
    let dir = scratch();
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.to_owned()), ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned())];
    let mut dev = Dev::start_with(host, dir.path(), &[], &variables);
    let run = |line: &[&str]| {
        let begun = Instant::now();
        let output = programs::output(dev::ctl(host, dir.path(), line).envs(variables.clone()));
        assert!(output.status.success(), "{line:?}: {}", programs::said(&output));
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        let silent = ["trace", "otel", "otlp", "collector"].iter().all(|word| !said.contains(word));
        assert!(silent, "{line:?} speaks of traces: {said}");
        begun.elapsed()
    };
    run(&CREATE);
    wait::until("the service runs", SOON, || {
        if dev.running("web").is_empty() { Err(String::new()) } else { Ok(()) }
    });
    for _ in 0..3 {
        let took = run(&["service", "ls"]);
        assert!(took < Duration::from_secs(1) + patience, "ctl service ls took {took:?}");
    }
    run(&["container", "run", "-d", "roadstead/hello"]);
    dev.stop();
    for (name, text) in logs(dir.path()) {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("collector")).collect();
        assert!(lines.len() <= 1, "{name} repeats itself: {lines:?}");
        assert!(!text.contains(" ERROR "), "{name}: {text}");
    }
}

#[test]
fn a_collector_that_is_not_there_costs_one_line() {
    let host = Host::new("closed");
    work_goes_on(&host, "http://127.0.0.1:4317", Duration::ZERO);
}

#[test]
fn a_collector_that_never_answers_is_not_waited_for() {
    let host = Host::new("mute");
    let mute = host.listen("127.0.0.1:0");
    let endpoint = format!("http://{}", mute.local_addr().expect("it listens"));
    work_goes_on(&host, &endpoint, Duration::from_secs(1));
}

#[test]
fn an_endpoint_that_makes_no_sense_stops_nobody() {
    let host = Host::new("wrong");
    let dir = scratch();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "not a url".to_owned())];
    let dev = Dev::start_with(&host, dir.path(), &[], &variables);
    assert!(dev.json(&["service", "ls"]).is_array());
    for (name, text) in logs(dir.path()) {
        assert_eq!(text.matches("traces are not exported").count(), 1, "{name}: {text}");
    }
}

#[test]
fn without_a_collector_the_keepers_log_still_has_the_trace() {
    let (host, dir) = (Host::new("none"), scratch());
    let dev = Dev::start(&host, dir.path(), &[]);
    dev.ctl(&CREATE);
    dev.ctl(&["container", "run", "-d", "roadstead/hello"]);
    let log = dir.path().join("data/agent/keeper.log");
    wait::until("both containers are in the keeper's log", SOON, || {
        let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
        let made = text.lines().filter(|line| line.contains(" create ") && line.contains(" trace="));
        if made.count() == 2 { Ok(()) } else { Err(text) }
    });
}

#[test]
fn logs_in_files_are_plain_and_to_the_point() {
    let (host, dir) = (Host::new("logs"), scratch());
    for _ in 0..2 {
        Dev::start(&host, dir.path(), &[]).stop();
    }
    for (name, text) in logs(dir.path()) {
        assert!(!text.contains('\u{1b}'), "{name} has colours: {text}");
        assert!(text.contains(" INFO "), "{name} has no level: {text}");
        for noise in ["raft logs", "otel.", "h2::", "hyper::", "rustls::", " DEBUG "] {
            assert!(!text.contains(noise), "{name} has {noise:?}: {text}");
        }
        for line in text.lines() {
            assert_eq!(line.trim_end(), line, "{name}: something is missing at the end");
            let mut fields: Vec<&str> =
                line.split(' ').filter_map(|word| word.split_once('=')).map(|(field, _)| field).collect();
            let count = fields.len();
            fields.sort_unstable();
            fields.dedup();
            assert_eq!(fields.len(), count, "{name} says something twice: {line}");
        }
    }
}
