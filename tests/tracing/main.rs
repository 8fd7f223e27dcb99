//! One request is one trace, from `ctl` to the keeper, and tracing is never in
//! the way: the real programs, and a collector that is there or is not.

mod collector;
mod without;

use std::path::Path;
use std::time::Duration;

use collector::{Collector, Span};
use itest::dev::{self, Dev};
use itest::host::Host;
use itest::{programs, wait};

/// What nobody should have to wait for longer than.
const SOON: Duration = Duration::from_secs(20);
/// Spans are exported at once, nearly.
const PROMPT: u32 = 100;
/// Spans are exported when there is no more time.
const LATE: u32 = 600_000;

/// A directory for one test, short enough for unix sockets and gone afterwards.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("rt-").tempdir_in("/tmp").expect("/tmp is writable")
}

/// Runs `ctl` with the variables of a collector.
fn traced(host: &Host, root: &Path, collector: &Collector, arguments: &[&str]) -> std::process::Output {
    programs::output(dev::ctl(host, root, arguments).envs(collector.variables(PROMPT)))
}

/// The line of the keeper's log that tells of a container made in this trace.
#[track_caller]
fn the_keeper_knows(root: &Path, trace: &str) {
    let log = root.join("data/agent/keeper.log");
    wait::until("the keeper's log has the trace", SOON, || {
        let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
        let end = format!(" trace={trace}");
        let found = text.lines().any(|line| line.contains(" create ") && line.ends_with(&end));
        if found { Ok(()) } else { Err(format!("{trace} is not in {text}")) }
    });
}

/// The spans of engine and keeper below the span of a start.
#[track_caller]
fn the_start_is_told_step_by_step(collector: &Collector, start: &Span) {
    let below = |name, parent: &Span| {
        let span = collector.find("agent", name, Some(parent));
        assert_eq!(span.trace, start.trace);
        assert!(parent.from <= span.from && span.to <= parent.to, "{span:?} reaches out of {parent:?}");
        span
    };
    below("network attach", start);
    below("snapshot", start);
    let keeper = below("keeper", start);
    assert!(keeper.from < keeper.to, "{keeper:?}");
    let create = below("keeper create", &keeper);
    for step in ["plan", "clone", "wait-for-child", "wait-for-keeper"] {
        below(step, &create);
    }
    below("attest", &keeper);
}

/// One trace id, one top, and nothing that hangs in the air.
#[track_caller]
fn is_whole(collector: &Collector, trace: &str) {
    let spans = collector.trace(trace);
    let tops: Vec<&Span> = spans.iter().filter(|span| span.parent.is_empty()).collect();
    assert!(tops.len() == 1 && tops[0].service == "ctl", "{tops:?}");
    let known = |span: &&Span| span.parent.is_empty() || spans.iter().any(|other| other.id == span.parent);
    let lost: Vec<&Span> = spans.iter().filter(|span| !known(span)).collect();
    assert!(lost.is_empty(), "without a parent: {lost:?}");
}

/// The trace of a service's creation, from its top to the keeper's steps.
#[track_caller]
fn the_service_is_one_trace(collector: &Collector) -> String {
    let top = collector.find("ctl", "ctl service create", None);
    assert_eq!(top.parent, "");
    let rpc = collector.find("controller", "roadstead.v1.Control/CreateService", Some(&top));
    let prepare = collector.find("agent", "prepare task", Some(&rpc));
    let start = collector.find("agent", "start task", Some(&rpc));
    for span in [&rpc, &prepare, &start] {
        assert_eq!((&span.trace, &span.failure), (&top.trace, &None));
    }
    the_start_is_told_step_by_step(collector, &start);
    is_whole(collector, &top.trace);
    top.trace
}

#[test]
fn a_service_is_one_trace_from_ctl_to_the_keeper() {
    let (host, dir) = (Host::new("trace"), scratch());
    let collector = Collector::start(&host);
    let _dev = Dev::start_with(&host, dir.path(), &[], &collector.variables(PROMPT));
    let line = ["service", "create", "--name", "web", "roadstead/hello"];
    let output = traced(&host, dir.path(), &collector, &line);
    assert!(output.status.success(), "{}", programs::said(&output));
    let trace = the_service_is_one_trace(&collector);
    the_keeper_knows(dir.path(), &trace);
}

#[test]
fn a_container_is_one_trace_from_ctl_to_the_keeper() {
    let (host, dir) = (Host::new("trace"), scratch());
    let collector = Collector::start(&host);
    let _dev = Dev::start_with(&host, dir.path(), &[], &collector.variables(PROMPT));
    // It ends at once and is removed, so its start can't be asked for afterwards.
    let line = ["container", "run", "--rm", "--env", "PORT=none", "roadstead/hello"];
    let output = traced(&host, dir.path(), &collector, &line);
    assert_eq!(output.status.code(), Some(1), "{}", programs::said(&output));
    let top = collector.find("ctl", "ctl container run", None);
    let create = collector.find("agent", "roadstead.v1.NodeControl/CreateContainer", Some(&top));
    let start = collector.find("agent", "roadstead.v1.NodeControl/StartContainer", Some(&top));
    assert_eq!((&create.trace, &start.trace), (&top.trace, &top.trace));
    the_start_is_told_step_by_step(&collector, &start);
    is_whole(&collector, &top.trace);
    the_keeper_knows(dir.path(), &top.trace);
}

#[test]
fn spans_say_what_failed() {
    let (host, dir) = (Host::new("trace"), scratch());
    let collector = Collector::start(&host);
    let _dev = Dev::start_with(&host, dir.path(), &[], &collector.variables(PROMPT));
    let line = ["container", "run", "--entrypoint", "/nothing", "roadstead/hello"];
    assert!(!traced(&host, dir.path(), &collector, &line).status.success());
    let top = collector.find("ctl", "ctl container run", None);
    let start = collector.find("agent", "roadstead.v1.NodeControl/StartContainer", Some(&top));
    for span in [&top, &start] {
        let failure = span.failure.as_deref().unwrap_or_default();
        assert!(failure.contains("/nothing"), "{span:?}");
    }
    assert!(!traced(&host, dir.path(), &collector, &["service", "rm", "none"]).status.success());
    let top = collector.find("ctl", "ctl service rm", None);
    let rpc = collector.find("controller", "roadstead.v1.Control/GetService", Some(&top));
    assert_eq!(rpc.failure, top.failure);
    assert!(rpc.failure.is_some());
}

#[test]
fn the_last_spans_are_sent_at_the_end() {
    let (host, dir) = (Host::new("trace"), scratch());
    let collector = Collector::start(&host);
    let mut dev = Dev::start_with(&host, dir.path(), &[], &collector.variables(LATE));
    let line = ["service", "create", "--name", "web", "roadstead/hello"];
    assert!(traced(&host, dir.path(), &collector, &line).status.success());
    wait::until("the service runs", SOON, || {
        if dev.running("web").is_empty() { Err(String::new()) } else { Ok(()) }
    });
    let early = collector.spans();
    assert!(early.iter().all(|span| span.service == "ctl"), "{early:?}");
    dev.stop();
    let at_once = collector.spans().len();
    the_service_is_one_trace(&collector);
    collector.find("ctl", "ctl dev", None);
    let session = collector.spans().into_iter().find(|span| span.name == "session");
    assert!(session.is_none(), "a session lasts for days, and no span should: {session:?}");
    assert_eq!(collector.spans().len(), at_once, "spans came after the end");
}
